//! Records against a plain struct, and the sizes that were promised.

use std::convert::Infallible;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::heap::block_size;

/// What a record should hold.
#[derive(Clone, Debug)]
struct Model {
    key: Vec<u8>,
    stamp: u32,
    mark: bool,
    deadline: Option<u64>,
    value: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Int(i64),
    Bytes(Vec<u8>),
    Object(Rc<Vec<u8>>),
}

/// Aligned to more than the header, so that padding is at work.
#[derive(Clone, Debug)]
#[repr(align(16))]
struct Wide(Rc<Vec<u8>>);

#[derive(Clone, Debug)]
enum Change {
    Int(i64),
    Bytes(Vec<u8>),
    SameLength(u8),
    Object(Vec<u8>),
    TakeObject,
    ReplaceObject(Vec<u8>),
    Resize(usize),
    Deadline(Option<u64>),
    Stamp(u32),
    Mark(bool),
    Rename(Vec<u8>),
    Clone,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..24),
        (0_usize..3000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<i64>().prop_map(Change::Int),
        bytes().prop_map(Change::Bytes),
        any::<u8>().prop_map(Change::SameLength),
        bytes().prop_map(Change::Object),
        Just(Change::TakeObject),
        bytes().prop_map(Change::ReplaceObject),
        (0_usize..2000).prop_map(Change::Resize),
        any::<Option<u64>>().prop_map(Change::Deadline),
        any::<u32>().prop_map(Change::Stamp),
        any::<bool>().prop_map(Change::Mark),
        bytes().prop_map(Change::Rename),
        Just(Change::Clone),
    ]
}

fn apply(change: Change, mut record: Record<Wide>, model: &mut Model) -> Record<Wide> {
    match change {
        Change::Int(value) => {
            record.set_int(value);
            (model.value, model.mark) = (Value::Int(value), false);
        }
        Change::Bytes(value) => {
            record.set_bytes(&value);
            (model.value, model.mark) = (Value::Bytes(value), false);
        }
        Change::SameLength(byte) => {
            let Value::Bytes(value) = &mut model.value else { return record };
            value.fill(byte);
            record.bytes_mut().expect("holds bytes").fill(byte);
        }
        Change::Object(value) => {
            let value = Rc::new(value);
            record.set_object(Wide(value.clone()));
            (model.value, model.mark) = (Value::Object(value), false);
        }
        Change::TakeObject => match (record.take_object(), &model.value) {
            (Some(Wide(taken)), Value::Object(value)) => {
                assert!(Rc::ptr_eq(&taken, value));
                (model.value, model.mark) = (Value::Int(0), false);
            }
            (taken, value) => assert!(taken.is_none() && !matches!(value, Value::Object(_))),
        },
        Change::ReplaceObject(new) => {
            let Some(object) = record.object_mut() else { return record };
            object.0 = Rc::new(new);
            model.value = Value::Object(object.0.clone());
        }
        Change::Resize(len) => {
            let Value::Bytes(value) = &mut model.value else { return record };
            value.resize(len, 0);
            record.resize_bytes(len);
        }
        Change::Deadline(deadline) => {
            record.set_deadline(deadline);
            model.deadline = deadline;
        }
        Change::Stamp(stamp) => {
            record.set_stamp(stamp);
            model.stamp = stamp;
        }
        Change::Mark(mark) => {
            record.set_mark(mark);
            model.mark = mark;
        }
        Change::Rename(key) => {
            record = record.with_key(&key);
            model.key = key;
        }
        Change::Clone => record = record.clone(),
    }
    record
}

fn assert_same(record: &Record<Wide>, model: &Model) {
    assert_eq!(record.key(), model.key);
    assert_eq!((record.stamp(), record.mark(), record.deadline()), (model.stamp, model.mark, model.deadline));
    let (value, payload_len) = match record.payload() {
        Payload::Int(value) => (Value::Int(value), 8),
        Payload::Bytes(value) => (Value::Bytes(value.to_vec()), value.len()),
        Payload::Object(Wide(value)) => {
            assert_eq!((&raw const *value).addr() % 16, 0);
            (Value::Object(value.clone()), 4 + size_of::<Wide>())
        }
    };
    assert_eq!(value, model.value);
    let deadline_len = if model.deadline.is_some() { 8 } else { 0 };
    assert_eq!(record.heap_size(), block_size(12 + deadline_len + model.key.len() + payload_len));
    assert_eq!(record.object().is_some(), matches!(model.value, Value::Object(_)));
}

proptest! {
    #[test]
    fn follows_the_model(key in bytes(), changes in prop::collection::vec(change(), 0..40)) {
        let mut model = Model { key, stamp: 0, mark: false, deadline: None, value: Value::Int(-1) };
        let mut record = Record::new_int(&model.key, -1);
        assert_same(&record, &model);
        for change in changes {
            record = apply(change, record, &mut model);
            assert_same(&record, &model);
        }
        let object = record.clone().into_object();
        prop_assert_eq!(object.is_some(), matches!(model.value, Value::Object(_)));
        drop((record, object));
        if let Value::Object(object) = model.value {
            prop_assert_eq!(Rc::strong_count(&object), 1);
        }
    }
}

#[test]
fn sizes_are_what_was_promised() {
    let key = [b'k'; 16];
    let mut record = Record::<Infallible>::new_bytes(&key, &[b'v'; 64]);
    assert_eq!(record.heap_size(), block_size(92));
    record.set_deadline(Some(1));
    assert_eq!(record.heap_size(), block_size(100));
    record.set_int(5);
    assert_eq!(record.heap_size(), block_size(44));
    assert_eq!(Record::<Infallible>::new_bytes(b"member", b"").heap_size(), block_size(18));
    assert_eq!(Record::<Box<u8>>::new_object(b"key", Box::new(1)).heap_size(), block_size(12 + 4 + 8 + 3));
    assert_eq!(size_of::<Option<Record<String>>>(), 8);
}

#[test]
fn objects_are_dropped_once() {
    let counted = Rc::new(());
    let mut record = Record::new_object(b"a", counted.clone());
    record.set_object(counted.clone());
    assert_eq!(Rc::strong_count(&counted), 2);
    record.set_deadline(Some(7));
    record = record.with_key(b"another, longer key");
    let copy = record.clone();
    assert_eq!(Rc::strong_count(&counted), 3);
    record.set_bytes(b"text");
    assert_eq!((Rc::strong_count(&counted), record.deadline()), (2, Some(7)));
    assert!(record.into_object().is_none());
    assert!(copy.into_object().is_some());
    assert_eq!(Rc::strong_count(&counted), 1);
}

#[test]
#[should_panic(expected = "only bytes can be resized")]
fn integers_cannot_be_resized() {
    Record::<Infallible>::new_int(b"n", 1).resize_bytes(2);
}

#[test]
fn debug_names_all_parts() {
    let text = format!("{:?}", Record::<String>::new_bytes(b"k\n", b"v"));
    assert_eq!(text, r#"Record { key: "k\\n", stamp: 0, mark: false, deadline: None, payload: Bytes([118]) }"#);
}
