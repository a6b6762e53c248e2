//! Values against plain arrays of registers, and values that others broke.

use super::*;

const SPARSE_MAX: usize = 3000;

#[test]
fn hashes_are_those_of_the_reference() {
    assert_eq!(murmur_hash_64a(b"", 0), 0);
    assert_eq!(murmur_hash_64a(b"hello", 0xadc8_3b19), murmur_hash_64a(b"hello", 0xadc8_3b19));
    assert_ne!(murmur_hash_64a(b"hello\0", 0xadc8_3b19), murmur_hash_64a(b"hello", 0xadc8_3b19));
}

#[test]
fn both_forms_hold_what_an_array_holds() {
    let (mut bytes, mut plain) = (empty(), [0; REGISTERS]);
    let mut turned = None;
    for number in 0..20_000_u32 {
        let element = number.wrapping_mul(0x9e37_79b9).to_le_bytes();
        let (index, value) = place(&element);
        let lower = plain[index] < value;
        plain[index] = plain[index].max(value);
        let mut log = HyperLogLog::of(&mut bytes).unwrap();
        assert_eq!(log.add(&element, SPARSE_MAX), Ok(lower));
        if lower {
            assert!(log.is_dense() || log.cached_count().is_none());
        }
        if log.is_dense() && turned.is_none() {
            turned = Some(number);
        }
        if number % 997 == 0 || turned == Some(number) {
            let mut registers = [0; REGISTERS];
            log.merge_into(&mut registers).unwrap();
            assert!(registers == plain, "after {number}");
        }
    }
    assert!(turned.is_some_and(|number| number > 500));
    let count = HyperLogLog::of(&bytes).unwrap().count().unwrap();
    assert!((19_500..20_500).contains(&count), "{count}");
}

#[test]
fn every_register_can_be_raised_to_every_value() {
    let mut bytes = empty();
    HyperLogLog::of(&mut bytes).unwrap().make_dense().unwrap();
    for value in 1..=RUN_BITS as u8 + 1 {
        for index in (0..REGISTERS).rev().step_by(7) {
            let mut log = HyperLogLog::of(&mut bytes).unwrap();
            assert_eq!(log.raise(index, value, SPARSE_MAX), Ok(true));
            assert_eq!(log.raise(index, value, SPARSE_MAX), Ok(false));
        }
    }
}

#[test]
fn counts_are_remembered_until_something_changes() {
    let mut bytes = empty();
    let mut log = HyperLogLog::of(&mut bytes).unwrap();
    assert_eq!((log.count(), log.cached_count()), (Ok(0), Some(0)));
    log.add(b"a", SPARSE_MAX).unwrap();
    assert_eq!((log.count(), log.cached_count()), (Ok(1), None));
    log.cache_count(1);
    assert_eq!(log.cached_count(), Some(1));
    assert_eq!(log.add(b"a", SPARSE_MAX), Ok(false));
    assert_eq!(log.cached_count(), Some(1));
}

#[test]
fn broken_values_are_refused_by_every_walk() {
    assert!(HyperLogLog::of(b"HYLL").is_none());
    assert!(HyperLogLog::of([b"HYLL".as_slice(), &[2], &[0; 11]].concat()).is_none());
    assert!(HyperLogLog::of([b"HYLL".as_slice(), &[0], &[0; 12_000]].concat()).is_none());
    let whole = [0x7f, 0xff];
    let broken: [&[u8]; 5] = [&[], &[0x7f], &[0x00], &[0x7f, 0xff, 0x00], &[0x7f, 0xff, 0x7f, 0xff]];
    for runs in broken {
        let mut bytes = [b"HYLL".as_slice(), &[1], &[0; 11], runs].concat();
        let mut log = HyperLogLog::of(&mut bytes).unwrap();
        assert_eq!(log.count(), Err(Corrupt), "{runs:?}");
        assert_eq!(log.make_dense(), Err(Corrupt), "{runs:?}");
        let last = REGISTERS - 1;
        assert!(runs.starts_with(&whole) || log.raise(last, 5, SPARSE_MAX) == Err(Corrupt), "{runs:?}");
    }
}
