//! Every operation against a `Vec`, under limits small enough to split and merge all the time.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;
use std::iter::repeat_n;

type Model = Vec<Vec<u8>>;

fn texts(list: &ChunkedList) -> Model {
    list.iter().map(Item::to_vec).collect()
}

/// Checks the elements, the sums, and that each chunk is within the limit, alone or as it came.
fn check(list: &ChunkedList, model: &Model) {
    assert_eq!(texts(list), *model);
    assert!(list.iter().rev().map(Item::to_vec).eq(model.iter().rev().cloned()));
    assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
    assert_eq!(list.chunks.iter().map(|chunk| chunk.len as usize).sum::<usize>(), model.len());
    assert!(list.chunks.iter().all(|chunk| chunk.len > 0 && chunk.packed.len() == chunk.len as usize));
    assert_eq!(list.packed_heap, list.chunks().map(Packed::heap_size).sum::<usize>());
    let len = model.len() as i64;
    for (index, text) in model.iter().enumerate() {
        let index = index as i64;
        assert_eq!(list.get(index), Some(Item::of(text)));
        assert_eq!(list.get(index - len), Some(Item::of(text)));
    }
    assert_eq!((list.get(len), list.get(-len - 1), list.get(i64::MIN)), (None, None, None));
}

fn check_limit(list: &ChunkedList) {
    for chunk in list.chunks() {
        assert!(chunk.len() == 1 || list.limit.admits(chunk.byte_len(), chunk.len()), "{chunk:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    PopFront,
    PopBack,
    Set(Index, Vec<u8>),
    InsertBefore(Index, Vec<u8>),
    InsertAfter(Index, Vec<u8>),
    RemoveMatching(Index, i64),
    Trim(usize, usize),
    Range(usize, usize),
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "1", "-5000", "", "x y"]).prop_map(|text| text.as_bytes().to_vec()),
        2 => (b'a'..=b'z', 0..40usize).prop_map(|(byte, len)| vec![byte; len]),
        1 => crate::packed::tests::text(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<Index>;
    prop_oneof![
        8 => text().prop_map(Step::PushBack),
        8 => text().prop_map(Step::PushFront),
        2 => Just(Step::PopFront),
        2 => Just(Step::PopBack),
        3 => (at(), text()).prop_map(|(at, text)| Step::Set(at, text)),
        4 => (at(), text()).prop_map(|(at, text)| Step::InsertBefore(at, text)),
        4 => (at(), text()).prop_map(|(at, text)| Step::InsertAfter(at, text)),
        1 => (at(), -3..4i64).prop_map(|(at, count)| Step::RemoveMatching(at, count)),
        1 => (0..4usize, 20..90usize).prop_map(|(start, count)| Step::Trim(start, count)),
        2 => (0..60usize, 0..60usize).prop_map(|(start, count)| Step::Range(start, count)),
    ]
}

fn apply(list: &mut ChunkedList, model: &mut Model, step: Step) {
    let choose = |at: Index| (!model.is_empty()).then(|| at.index(model.len()));
    let pivot = |at: Index| choose(at).map_or(b"none".to_vec(), |index| model[index].clone());
    let mut sink = b">".to_vec();
    match step {
        Step::PushBack(text) => {
            list.push_back(&text);
            model.push(text);
        }
        Step::PushFront(text) => {
            list.push_front(&text);
            model.insert(0, text);
        }
        Step::PopFront => {
            let expected = (!model.is_empty()).then(|| model.remove(0));
            assert_eq!(list.pop_front(&mut sink), expected.is_some());
            assert_eq!(sink[1..], expected.unwrap_or_default());
        }
        Step::PopBack => {
            let expected = model.pop();
            assert_eq!(list.pop_back(&mut sink), expected.is_some());
            assert_eq!(sink[1..], expected.unwrap_or_default());
        }
        Step::Set(at, text) => {
            let Some(index) = choose(at) else { return assert!(!list.set(0, &text)) };
            // From either end, so that both ways of counting are used.
            let index_or_back = if index % 2 == 0 { index as i64 } else { index as i64 - model.len() as i64 };
            assert!(list.set(index_or_back, &text));
            assert!(!list.set(model.len() as i64, &text));
            model[index] = text;
        }
        Step::InsertBefore(at, text) => {
            let pivot = pivot(at);
            let found = model.iter().position(|text| *text == pivot);
            assert_eq!(list.insert_before_first(&pivot, &text), found.is_some());
            if let Some(index) = found {
                model.insert(index, text);
            }
        }
        Step::InsertAfter(at, text) => {
            let pivot = pivot(at);
            let found = model.iter().position(|text| *text == pivot);
            assert_eq!(list.insert_after_first(&pivot, &text), found.is_some());
            if let Some(index) = found {
                model.insert(index + 1, text);
            }
        }
        Step::RemoveMatching(at, count) => {
            let text = pivot(at);
            let expected = crate::packed::tests::remove_matching(model, &text, count);
            assert_eq!(list.remove_matching(&text, count), expected);
        }
        Step::Trim(start, count) => {
            list.trim(start, count);
            let start = start.min(model.len());
            model.drain(..start);
            model.truncate(count);
        }
        Step::Range(start, count) => {
            let low = start.min(model.len());
            let expected = &model[low..model.len().min(start + count).max(low)];
            let range = list.range(start, count);
            assert_eq!(range.len(), expected.len());
            assert!(range.clone().map(Item::to_vec).eq(expected.iter().cloned()));
            assert!(range.clone().rev().map(Item::to_vec).eq(expected.iter().rev().cloned()));
            let mut rest = range.clone();
            rest.next();
            rest.next_back();
            let mut folded = Vec::new();
            rest.for_each(|item| folded.push(item.to_vec()));
            assert_eq!(folded, expected.get(1..expected.len().saturating_sub(1)).unwrap_or_default());
            let mut both = range;
            let mut met = Vec::new();
            while let Some(item) = both.next() {
                met.insert(met.len() / 2, item.to_vec());
                met.extend(both.next_back().map(Item::to_vec));
            }
            assert_eq!(met.len(), expected.len());
        }
    }
}

proptest! {
    #[test]
    fn behaves_like_a_vec(
        limit in prop::sample::select(vec![
            ChunkLimit::Bytes(0), ChunkLimit::Bytes(40), ChunkLimit::Bytes(120), ChunkLimit::Bytes(8192),
            ChunkLimit::Entries(1), ChunkLimit::Entries(4), ChunkLimit::Entries(1000),
        ]),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (mut list, mut model) = (ChunkedList::new(limit), Model::new());
        for step in steps {
            apply(&mut list, &mut model, step);
            check(&list, &model);
            check_limit(&list);
        }
        let copy = list.clone();
        check(&copy, &model);
        list.clear();
        check(&list, &Model::new());
    }

    /// A list that came as chunks of any size keeps to whatever limit is set later.
    #[test]
    fn foreign_chunks_are_taken_as_they_are(
        chunks in prop::collection::vec(prop::collection::vec(text(), 0..30), 0..5),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let (mut list, mut model) = (ChunkedList::new(ChunkLimit::Entries(3)), Model::new());
        for chunk in chunks {
            list.push_chunk(chunk.iter().collect());
            model.extend(chunk);
        }
        check(&list, &model);
        for step in steps {
            apply(&mut list, &mut model, step);
            check(&list, &model);
        }
    }

    /// Indexes, searches and cuts over many full chunks.
    #[test]
    fn long_lists_are_walked_from_either_end(len in 3000..9000usize, cut in any::<Index>(), keep in 1..4000usize) {
        let mut list = ChunkedList::default();
        list.extend((0..len).map(|value| (value * 7).to_string()));
        prop_assert!(list.chunks().len() > 1);
        check_limit(&list);
        let index = cut.index(len);
        let expected = |index: usize| (index < len).then_some(Item::Int(index as i64 * 7));
        prop_assert_eq!(list.get(index as i64), expected(index));
        prop_assert_eq!(list.get(-1 - index as i64), expected(len - 1 - index));
        let mut folded = Vec::new();
        list.range(index, keep).for_each(|item| folded.push(item.as_int()));
        prop_assert!(folded.into_iter().eq((index..len.min(index + keep)).map(|index| Some(index as i64 * 7))));
        list.trim(index, keep);
        prop_assert_eq!(list.len(), keep.min(len - index));
        prop_assert_eq!(list.get(0), expected(index));
        prop_assert_eq!(list.get(-1), expected(len.min(index + keep) - 1));
        check_limit(&list);
    }
}

#[test]
fn settings_are_those_of_list_max_listpack_size() {
    for (setting, limit) in [
        (-1, ChunkLimit::Bytes(4096)),
        (-2, ChunkLimit::Bytes(8192)),
        (-5, ChunkLimit::Bytes(65_536)),
        (-9, ChunkLimit::Bytes(65_536)),
        (i64::MIN, ChunkLimit::Bytes(65_536)),
        (0, ChunkLimit::Entries(1)),
        (128, ChunkLimit::Entries(128)),
    ] {
        assert_eq!(ChunkLimit::from_setting(setting), limit);
    }
}

#[test]
fn elements_over_the_limit_stand_alone() {
    let mut list = ChunkedList::new(ChunkLimit::Bytes(4096));
    let large = vec![b'x'; 5000];
    list.push_back(b"a");
    list.push_back(&large);
    list.push_back(b"b");
    list.push_front(&large);
    assert_eq!(list.chunks().map(Packed::len).collect::<Vec<_>>(), [1, 1, 1, 1]);
    assert!(list.set(1, &large));
    assert!(list.set(0, b"c") && list.set(2, b"d"));
    check(&list, &vec![b"c".to_vec(), large, b"d".to_vec(), b"b".to_vec()]);
    list.extend(repeat_n(&b"y"[..], 1000));
    assert!(list.set(500, &vec![b'z'; 70_000]));
    assert_eq!(list.get(500).map(Item::len), Some(70_000));
    check_limit(&list);
}

#[test]
fn small_neighbours_are_merged() {
    let mut list = ChunkedList::new(ChunkLimit::Entries(10));
    list.extend((0..100).map(|value| if value % 10 < 8 { "gone" } else { "kept" }));
    assert_eq!(list.chunks().len(), 10);
    assert_eq!(list.remove_matching(b"gone", 0), 80);
    assert!(list.chunks().len() <= 4, "{} chunks for 20 elements", list.chunks().len());
    assert!(list.clone().into_packed().is_err());
    assert_eq!(list.remove_matching(b"kept", -17), 17);
    assert_eq!(list.into_packed().map(|packed| packed.len()).ok(), Some(3));
}

#[test]
fn sequences_with_uncounted_elements_are_taken_apart() {
    let packed: Packed = repeat_n(b"7", 66_000).collect();
    let mut list = ChunkedList::from_packed(packed, ChunkLimit::default());
    assert_eq!(list.len(), 66_000);
    assert!(list.chunks().len() > 10);
    check_limit(&list);
    assert_eq!(list.remove_matching(b"7", 65_990), 65_990);
    assert_eq!(list.into_packed().map(|packed| packed.len()).ok(), Some(10));
    assert_eq!(ChunkedList::default().into_packed().ok(), Some(Packed::new()));
}

#[test]
fn memory_is_returned() {
    let mut list = ChunkedList::default();
    list.extend((0..200_000).map(|value| format!("element {value}")));
    let (full, elements) = (list.heap_size(), list.chunks().map(Packed::byte_len).sum::<usize>());
    assert!(full < elements * 11 / 10, "{full} bytes for {elements}");
    let mut sink = Vec::new();
    while list.len() > 10 {
        list.pop_front(&mut sink);
    }
    assert!(list.heap_size() < 12_000, "{} bytes for 10 elements", list.heap_size());
}
