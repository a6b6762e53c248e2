//! The listpack format byte for byte, every operation against a `Vec`, and hostile bytes.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

type Model = Vec<Vec<u8>>;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hex digit") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn texts(packed: &Packed) -> Model {
    packed.iter().map(Item::to_vec).collect()
}

/// Integers one to either side of every boundary between encodings.
fn boundary_integers() -> Vec<i64> {
    let edges = [0, 127, -4096, 4095, -0x8000, 0x7FFF, -0x80_0000, 0x7F_FFFF, -0x8000_0000, 0x7FFF_FFFF];
    let mut values: Vec<i64> = edges.iter().flat_map(|edge| [edge - 1, *edge, edge + 1]).collect();
    values.extend([i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX]);
    values
}

/// Texts in every encoding, some of them one step from being integers.
pub(crate) fn text() -> impl Strategy<Value = Vec<u8>> {
    let near = ["", "-", "-0", "00", "01", "+1", " 1", "1.0", "9223372036854775808", "-9223372036854775809"];
    let lens = [0, 1, 5, 62, 63, 64, 125, 126, 127, 128, 4095, 4096];
    prop_oneof![
        8 => prop::collection::vec(b'a'..b'd', 0..3),
        4 => (0..200i64).prop_map(|value| value.to_string().into_bytes()),
        4 => prop::sample::select(boundary_integers()).prop_map(|value| value.to_string().into_bytes()),
        2 => prop::sample::select(near.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        2 => (prop::sample::select(lens.to_vec()), any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ]
}

#[test]
fn one_pointer_with_a_niche() {
    assert_eq!(size_of::<Option<Packed>>(), 8);
    assert_eq!(Packed::new().heap_size(), 0);
    assert_eq!(Packed::new().as_listpack(), [7, 0, 0, 0, 0, 0, 0xFF]);
}

#[test]
fn entries_are_encoded_as_the_format_says() {
    let check = |text: &[u8], entry: &str| {
        let packed: Packed = [text].into_iter().collect();
        let listpack = packed.as_listpack();
        assert_eq!(listpack[HEADER..listpack.len() - 1], bytes(entry), "{:?}", String::from_utf8_lossy(text));
        assert_eq!(Packed::encoded_len(text), listpack.len() - HEADER - 1);
    };
    check(b"", "80 01");
    check(b"ab", "82 6162 03");
    check(b"0", "00 01");
    check(b"127", "7f 01");
    check(b"128", "c080 02");
    check(b"-1", "dfff 02");
    check(b"-4096", "d000 02");
    check(b"4095", "cfff 02");
    check(b"4096", "f1 0010 03");
    check(b"-4097", "f1 ffef 03");
    check(b"-8388608", "f2 000080 04");
    check(b"8388608", "f3 00008000 05");
    check(b"-2147483649", "f4 ffffff7fffffffff 09");
    check(b"9223372036854775808", "93 39323233333732303336383534373735383038 14");
    check(b"-0", "82 2d30 03");
    check(b"00", "82 3030 03");
    check(&[b'x'; 63], &format!("bf {} 40", "78".repeat(63)));
    check(&[b'x'; 64], &format!("e040 {} 42", "78".repeat(64)));
    check(&[b'x'; 126], &format!("e07e {} 0180", "78".repeat(126)));
    check(&[b'x'; 4095], &format!("efff {} 2081", "78".repeat(4095)));
    check(&[b'x'; 4096], &format!("f000100000 {} 2085", "78".repeat(4096)));
    check(&[b'x'; 70_000], &format!("f070110100 {} 04a2f5", "78".repeat(70_000)));
}

/// Lengths at which redis-server 7.0.15 was seen to switch to a longer back length, and its last bytes there.
#[test]
fn back_lengths_switch_where_a_real_server_switches() {
    for (len, back) in [
        (16_377, "7ffe"),
        (16_378, "00ffff"),
        (16_379, "018080"),
        (2_097_145, "7ffffe"),
        (2_097_146, "00ffffff"),
        (2_097_147, "01808080"),
    ] {
        let mut packed: Packed = [vec![b'x'; len], b"y".to_vec()].into_iter().collect();
        let listpack = packed.as_listpack();
        let ends = listpack.len() - 4;
        let back = bytes(back);
        assert_eq!(listpack[ends - back.len()..ends], back);
        assert_eq!(listpack[ends - back.len() - 1], b'x');
        assert_eq!(packed.iter().rev().map(Item::len).collect::<Vec<_>>(), [1, len]);
        assert_eq!(Packed::from_listpack(packed.as_listpack()).as_ref(), Ok(&packed));
        packed.remove_range(0, 1);
        assert_eq!(texts(&packed), [b"y"]);
    }
}

/// The listpacks inside `DUMP` replies of redis-server 7.0.15 (types 16, 17 and 18), and what was stored.
const OBSERVED: &[(&str, &[&str])] = &[
    (
        "930000001c008266310382763103816e020001816d027f01816b02c08002836e656704dfff028165028001d00002cfff02f1\
         001003f1ffef03f1ff7f03f2ff7fff04f2ffff7f04f3ffff7fff05f3ffffff7f05f4ffffff7fffffffff09f4ffffffffffff\
         ff7f09f400000000000000800982303103822d3003822b3103933932323333373230333638353437373538303814ff",
        &[
            "f1",
            "v1",
            "n",
            "0",
            "m",
            "127",
            "k",
            "128",
            "neg",
            "-1",
            "e",
            "",
            "-4096",
            "4095",
            "4096",
            "-4097",
            "32767",
            "-32769",
            "8388607",
            "-8388609",
            "2147483647",
            "-2147483649",
            "9223372036854775807",
            "-9223372036854775808",
            "01",
            "-0",
            "+1",
            "9223372036854775808",
        ],
    ),
    (
        "290000000a00816302dffd0207010001816102010181620283322e35048164028631652b31303007ff",
        &["c", "-3", "7", "0", "a", "1", "b", "2.5", "d", "1e+100"],
    ),
    (
        "a5000000080081610201018001dff9028b68656c6c6f20776f726c640cc12c02bf6161616161616161616161616161616161\
         6161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616140e04062\
         6262626262626262626262626262626262626262626262626262626262626262626262626262626262626262626262626262\
         6262626262626262626262626242ff",
        &[
            "a",
            "1",
            "",
            "-7",
            "hello world",
            "300",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
        ],
    ),
    (
        "7b000000160000017f01c08002dfff02d00002f1ffef03cfff02f1001003f1008003f1ff7f03f2ff7fff04f200800004f200\
         008004f2ffff7f04f3ffff7fff05f30000800005f30000008005f3ffffff7f05f4ffffff7fffffffff09f400000080000000\
         0009f4000000000000008009f4ffffffffffffff7f09ff",
        &[
            "0",
            "127",
            "128",
            "-1",
            "-4096",
            "-4097",
            "4095",
            "4096",
            "-32768",
            "32767",
            "-32769",
            "32768",
            "-8388608",
            "8388607",
            "-8388609",
            "8388608",
            "-2147483648",
            "2147483647",
            "-2147483649",
            "2147483648",
            "-9223372036854775808",
            "9223372036854775807",
        ],
    ),
];

#[test]
fn observed_dumps_are_read_and_written_alike() {
    for (hex, expected) in OBSERVED {
        let listpack = bytes(hex);
        let packed = Packed::from_listpack(&listpack).expect("a real server wrote it");
        assert!(texts(&packed).iter().eq(expected.iter().map(|text| text.as_bytes())), "{packed:?}");
        assert_eq!(packed.as_listpack(), listpack);
        let built: Packed = expected.iter().collect();
        assert_eq!(built.as_listpack(), listpack);
    }
}

#[test]
fn foreign_entries_become_canonical() {
    // 5 as text, 5 in 16 bits, and "a" with a length of 32 bits; the number of elements left unknown.
    let foreign = bytes("17000000 ffff 813502 f1050003 f00100000061 06 7f01 ff");
    let packed = Packed::from_listpack(&foreign).expect("unusual but valid");
    assert_eq!(packed.as_listpack(), bytes("10000000 0400 0501 0501 816102 7f01 ff"));
    assert_eq!(packed.find(b"5", 0), packed.first());
}

#[test]
fn broken_bytes_are_refused() {
    for (hex, reason) in [
        ("", "listpack of an impossible size"),
        ("06000000 0000", "listpack of an impossible size"),
        ("08000000 0000 ff", "listpack with a wrong total length"),
        ("07000000 0000 00", "listpack without an end"),
        ("07000000 0100 ff", "listpack with a wrong number of entries"),
        ("09000000 0000 0001 ff", "listpack with a wrong number of entries"),
        ("09000000 0100 0002 ff", "listpack entry with a wrong back length"),
        ("09000000 0100 ff01 ff", "listpack entry of an unknown encoding"),
        ("09000000 0100 f501 ff", "listpack entry of an unknown encoding"),
        ("09000000 0100 8501 ff", "listpack entry cut short"),
        ("08000000 0100 81 ff", "listpack entry cut short"),
        ("08000000 0100 01 ff", "listpack entry with a wrong back length"),
        ("08000000 0100 f4 ff", "listpack entry cut short"),
        ("0c000000 0100 f0ffffffff ff", "listpack entry cut short"),
    ] {
        assert_eq!(Packed::from_listpack(&bytes(hex)).err(), Some(Corrupt(reason)), "{hex}");
    }
}

#[test]
fn counts_past_the_header_are_walked() {
    let mut packed = Packed::new();
    for index in 0..65_540i64 {
        packed.push_back_int(index % 100);
        if index == 65_533 {
            assert_eq!(packed.as_listpack()[4..6], [0xFE, 0xFF]);
        }
    }
    assert_eq!(packed.as_listpack()[4..6], [0xFF, 0xFF]);
    assert_eq!(packed.len(), 65_540);
    let item = |index: i64| packed.seek(index).map(|at| packed.item(at));
    assert_eq!(item(65_539), Some(Item::Int(39)));
    assert_eq!(item(-65_540), Some(Item::Int(0)));
    assert_eq!((item(65_540), item(-65_541)), (None, None));

    let right = packed.clone().split_off(65_538);
    assert_eq!(texts(&right), [b"38", b"39"]);
    let again = Packed::from_listpack(packed.as_listpack()).expect("valid");
    assert_eq!(again.len(), 65_540);
    packed.remove_range(5, 65_530);
    assert!(packed.iter().eq([0, 1, 2, 3, 4, 35, 36, 37, 38, 39].map(Item::Int)), "{packed:?}");
    assert_eq!(packed.len(), 10);
    let counted = Packed::from_listpack(packed.as_listpack()).expect("valid");
    assert_eq!(counted.as_listpack()[4..6], [10, 0], "loading fills in a count that fits");
    let (mut left, right) = (again.clone(), again);
    left.append(&right);
    assert_eq!(left.len(), 131_080);
    assert_eq!(left.remove_matching(b"7", -3), 3);
    assert_eq!(left.remove_matching(b"7", 0), 2 * 656 - 3);
}

#[test]
fn spare_room_is_modest_and_can_be_returned() {
    let mut packed = Packed::new();
    packed.extend([b"abcdefgh"; 2]);
    assert!(packed.heap_size() <= 48, "{} bytes for 31", packed.heap_size());
    packed.extend(vec![b"abcdefgh"; 1000]);
    assert!(packed.heap_size() <= packed.byte_len() * 5 / 4 + 16);
    packed.shrink_to_fit();
    assert_eq!(packed.heap_size(), crate::heap::block_size(packed.byte_len() + 4));
    packed.remove_range(1, 1000);
    assert!(packed.heap_size() < 60, "{} bytes for 31", packed.heap_size());
    assert!(packed.pop_back(&mut Vec::new()) && packed.pop_back(&mut Vec::new()) && packed.is_empty());
    packed.shrink_to_fit();
    assert_eq!(packed.heap_size(), 0);
}

#[test]
fn fitting_is_answered_without_overflow() {
    let packed: Packed = [b"12345"].into_iter().collect();
    assert!(packed.would_fit(MAX_BYTES - packed.byte_len()));
    assert!(!packed.would_fit(MAX_BYTES - packed.byte_len() + 1));
    assert!(!packed.would_fit(usize::MAX));
}

#[test]
fn items_know_their_text() {
    for value in boundary_integers() {
        let text = value.to_string();
        assert_eq!(Item::of(text.as_bytes()), Item::Int(value));
        assert_eq!(Item::Int(value).len(), text.len());
        assert_eq!(Item::Int(value).to_vec(), text.as_bytes());
        assert!(Item::Int(value).eq_bytes(text.as_bytes()) && !Item::Int(value).eq_bytes(b"x"));
    }
    assert_eq!(Item::of(b"01"), Item::Str(b"01"));
    assert_eq!(Item::Str(b"01").as_int(), None);
    assert_eq!(Item::Str(b"77").as_int(), Some(77));
    assert!(Item::Str(b"").is_empty() && !Item::Int(0).is_empty());
    assert!(Item::Str(b"01").eq_bytes(b"01") && !Item::Int(1).eq_bytes(b"01"));
}

#[derive(Clone, Debug)]
enum Step {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    PushInt(i64),
    InsertBefore(Index, Vec<u8>),
    InsertAfter(Index, Vec<u8>),
    InsertPair(Index, Vec<u8>, Vec<u8>),
    Replace(Index, Vec<u8>),
    ReplaceInt(Index, i64),
    Remove(Index),
    RemovePair(Index),
    RemoveRange(usize, usize),
    RemoveMatching(Index, i64),
    PopFront,
    PopBack,
    SplitAndAppend(usize),
    Split(usize),
    Shrink,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<Index>;
    let number = || prop_oneof![prop::sample::select(boundary_integers()), any::<i64>()];
    prop_oneof![
        6 => text().prop_map(Step::PushBack),
        3 => text().prop_map(Step::PushFront),
        1 => number().prop_map(Step::PushInt),
        2 => (at(), text()).prop_map(|(at, text)| Step::InsertBefore(at, text)),
        2 => (at(), text()).prop_map(|(at, text)| Step::InsertAfter(at, text)),
        2 => (at(), text(), text()).prop_map(|(at, first, second)| Step::InsertPair(at, first, second)),
        3 => (at(), text()).prop_map(|(at, text)| Step::Replace(at, text)),
        1 => (at(), number()).prop_map(|(at, value)| Step::ReplaceInt(at, value)),
        2 => at().prop_map(Step::Remove),
        1 => at().prop_map(Step::RemovePair),
        1 => (0..30usize, 0..6usize).prop_map(|(index, count)| Step::RemoveRange(index, count)),
        1 => (at(), -3..4i64).prop_map(|(at, count)| Step::RemoveMatching(at, count)),
        1 => Just(Step::PopFront),
        1 => Just(Step::PopBack),
        1 => (0..30usize).prop_map(Step::SplitAndAppend),
        1 => (5..40usize).prop_map(Step::Split),
        1 => Just(Step::Shrink),
        1 => prop::bool::weighted(0.1).prop_map(|clear| if clear { Step::Clear } else { Step::Shrink }),
    ]
}

/// Removes elements equal to `text` from a model the slow way.
pub(crate) fn remove_matching(model: &mut Model, text: &[u8], count: i64) -> usize {
    let mut matches: Vec<usize> = (0..model.len()).filter(|&index| model[index] == text).collect();
    if count < 0 {
        matches.reverse();
    }
    if count != 0 {
        matches.truncate(count.unsigned_abs() as usize);
    }
    let mut index = 0;
    model.retain(|_| {
        index += 1;
        !matches.contains(&(index - 1))
    });
    matches.len()
}

/// Applies one step to both and checks what it returned.
fn apply(packed: &mut Packed, model: &mut Model, step: Step) {
    let mut sink = b">".to_vec();
    let (ints, expected) = match step {
        Step::PushBack(text) => return (packed.push_back(&text), model.push(text)).1,
        Step::PushFront(text) => return (packed.push_front(&text), model.insert(0, text)).1,
        Step::PushInt(value) => return (packed.push_back_int(value), model.push(value.to_string().into_bytes())).1,
        Step::Shrink => return packed.shrink_to_fit(),
        Step::Clear => return (packed.clear(), model.clear()).1,
        Step::PopFront => {
            let popped = packed.pop_front(&mut sink);
            (popped, (!model.is_empty()).then(|| model.remove(0)))
        }
        Step::PopBack => (packed.pop_back(&mut sink), model.pop()),
        Step::SplitAndAppend(index) => {
            let right = packed.split_off(index);
            assert_eq!(texts(&right), model[index.min(model.len())..]);
            assert_eq!(right.len(), model.len().saturating_sub(index));
            return packed.append(&right);
        }
        Step::Split(index) => {
            *packed = packed.clone();
            packed.split_off(index);
            return model.truncate(index);
        }
        Step::RemoveRange(index, count) => {
            packed.remove_range(index, count);
            let index = index.min(model.len());
            model.drain(index..model.len().min(index + count));
            return;
        }
        step => return apply_at(packed, model, step),
    };
    assert_eq!(ints, expected.is_some());
    assert_eq!(sink[1..], expected.unwrap_or_default());
}

/// The steps that need an element to start from; an empty sequence skips them.
fn apply_at(packed: &mut Packed, model: &mut Model, step: Step) {
    let choose = |at: Index| (!model.is_empty()).then(|| at.index(model.len()));
    let seek = |packed: &Packed, index: usize| packed.seek(index as i64).expect("it is there");
    match step {
        Step::InsertBefore(at, text) => {
            let Some(index) = choose(at) else { return };
            let at = packed.insert_before(seek(packed, index), &text);
            assert!(packed.item(at).eq_bytes(&text));
            model.insert(index, text);
        }
        Step::InsertAfter(at, text) => {
            let Some(index) = choose(at) else { return };
            let at = packed.insert_after(seek(packed, index), &text);
            assert!(packed.item(at).eq_bytes(&text));
            model.insert(index + 1, text);
        }
        Step::InsertPair(at, first, second) => {
            let index = at.index(model.len() + 1);
            let at = packed.insert_pair(packed.seek(index as i64), &first, &second);
            assert_eq!(packed.index_of(at), index);
            model.splice(index..index, [first, second]);
        }
        Step::Replace(at, text) => {
            let Some(index) = choose(at) else { return };
            packed.replace(seek(packed, index), &text);
            model[index] = text;
        }
        Step::ReplaceInt(at, value) => {
            let Some(index) = choose(at) else { return };
            packed.replace_int(seek(packed, index), value);
            model[index] = value.to_string().into_bytes();
        }
        Step::Remove(at) => {
            let Some(index) = choose(at) else { return };
            let next = packed.remove(seek(packed, index));
            model.remove(index);
            assert_eq!(next.map(|at| packed.item(at).to_vec()), model.get(index).cloned());
        }
        Step::RemovePair(at) => {
            let Some(index) = choose(at) else { return };
            let next = packed.remove_pair(seek(packed, index));
            model.drain(index..model.len().min(index + 2));
            assert_eq!(next.map(|at| packed.item(at).to_vec()), model.get(index).cloned());
        }
        Step::RemoveMatching(at, count) => {
            let text = choose(at).map_or(b"none".to_vec(), |index| model[index].clone());
            assert_eq!(packed.remove_matching(&text, count), remove_matching(model, &text, count));
        }
        step => unreachable!("{step:?} needs no element"),
    }
}

/// Checks every way of reading.
fn check(packed: &Packed, model: &Model) {
    assert_eq!(texts(packed), *model);
    assert_eq!(packed.len(), model.len());
    assert_eq!(packed.is_empty(), model.is_empty());
    assert!(packed.iter().rev().map(Item::to_vec).eq(model.iter().rev().cloned()));
    assert_eq!(packed.byte_len(), 7 + model.iter().map(|text| Packed::encoded_len(text)).sum::<usize>());
    assert!(packed.heap_size() == 0 || packed.heap_size() >= packed.byte_len() + 4);
    let len = model.len() as i64;
    assert_eq!((packed.seek(len), packed.seek(-len - 1)), (None, None));
    assert_eq!((packed.seek(i64::MAX), packed.seek(i64::MIN)), (None, None));
    for (index, text) in model.iter().enumerate() {
        let at = packed.seek(index as i64).expect("it is there");
        assert_eq!(packed.seek(index as i64 - len), Some(at));
        assert_eq!(packed.index_of(at), index);
        assert_eq!(packed.next(at), packed.seek(index as i64 + 1));
        assert_eq!(packed.prev(at).map(|at| packed.index_of(at)), index.checked_sub(1));
        assert_eq!(packed.item(at), Item::of(text));
        assert!(packed.iter_from(at).map(Item::to_vec).eq(model[index..].iter().cloned()));
        assert!(packed.iter_through(at).rev().map(Item::to_vec).eq(model[..=index].iter().rev().cloned()));
        for skip in 0..3 {
            let first = (0..model.len()).step_by(skip + 1).find(|&index| model[index] == *text);
            assert_eq!(packed.find(text, skip).map(|at| packed.index_of(at)), first);
            let next = (index..model.len()).step_by(skip + 1).skip(1).find(|&index| model[index] == *text);
            let from = packed.seek((index + skip + 1) as i64);
            assert_eq!(from.and_then(|at| packed.find_from(at, text, skip)).map(|at| packed.index_of(at)), next);
        }
    }
    assert_eq!(packed.find(b"never stored", 0), None);
    let again = Packed::from_listpack(packed.as_listpack()).expect("our own bytes are valid");
    assert_eq!(again.as_listpack(), packed.as_listpack());
}

proptest! {
    #[test]
    fn behaves_like_a_vec(steps in prop::collection::vec(step(), 1..60)) {
        let (mut packed, mut model) = (Packed::new(), Model::new());
        for step in steps {
            apply(&mut packed, &mut model, step);
            assert_eq!(texts(&packed), model);
            assert_eq!(packed.len(), model.len());
        }
        check(&packed, &model);
    }

    #[test]
    fn pairs_walk_both_ways(texts in prop::collection::vec(text(), 0..12)) {
        let packed: Packed = texts.iter().collect();
        let model: Vec<_> = texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        let owned = |(first, second): (Item<'_>, Item<'_>)| (first.to_vec(), second.to_vec());
        prop_assert!(packed.pairs().map(owned).eq(model.iter().cloned()));
        if texts.len() % 2 == 0 {
            prop_assert!(packed.pairs().rev().map(owned).eq(model.iter().rev().cloned()));
            let mut both = packed.pairs();
            let mut count = 0;
            while both.next().is_some() {
                count += 1 + usize::from(both.next_back().is_some());
            }
            prop_assert_eq!(count, model.len());
        }
    }

    #[test]
    fn any_text_comes_back(text in prop::collection::vec(any::<u8>(), 0..200), value in any::<i64>()) {
        let packed: Packed = [&text[..], value.to_string().as_bytes(), &text].into_iter().collect();
        check(&packed, &vec![text.clone(), value.to_string().into_bytes(), text]);
    }

    /// Whatever passes the check can be read from both ends, searched and changed.
    #[test]
    fn mutated_bytes_never_break_it(
        texts in prop::collection::vec(text(), 0..12),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        cut in 0..2usize,
        fix_total in any::<bool>(),
    ) {
        let mut listpack = texts.iter().collect::<Packed>().as_listpack().to_vec();
        for (index, byte) in changes {
            let index = index.index(listpack.len());
            listpack[index] = byte;
        }
        listpack.truncate(listpack.len() - cut);
        if fix_total {
            let total = (listpack.len() as u32).to_le_bytes();
            listpack[..4].copy_from_slice(&total);
            listpack[4..6].fill(0xFF);
        }
        if let Ok(mut packed) = Packed::from_listpack(&listpack) {
            let model: Model = packed.iter().map(Item::to_vec).collect();
            check(&packed, &model);
            packed.push_front(b"more");
            prop_assert_eq!(packed.len(), model.len() + 1);
        }
    }

    #[test]
    fn noise_is_refused_or_read(noise in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut listpack = vec![noise.len() as u8 + 7, 0, 0, 0, 0xFF, 0xFF];
        listpack.extend(noise);
        listpack.push(END);
        if let Ok(packed) = Packed::from_listpack(&listpack) {
            let model: Model = packed.iter().map(Item::to_vec).collect();
            check(&packed, &model);
        }
    }
}
