//! Streams against a model, and their nodes against bytes that a redis-server wrote.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

type Fields = Vec<Vec<u8>>;

/// A stream as plain as can be.
#[derive(Default)]
struct Model {
    entries: BTreeMap<StreamId, Fields>,
    last_id: StreamId,
    max_deleted_id: StreamId,
    added: u64,
    pending: BTreeMap<StreamId, (u8, u64)>,
    read_up_to: StreamId,
    trims_by_id: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Add { later: u64, shape: u8, value: u16 },
    Remove { nth: usize },
    TrimLen { len: u64 },
    TrimAbout { len: u64, limit: Option<u64> },
    TrimId { nth: usize },
    TrimUnneeded { len: u64 },
    Deliver { consumer: u8, count: usize },
    Claim { nth: usize, consumer: u8 },
    Acknowledge { nth: usize },
    RemoveUnneeded { nth: usize },
    RemoveEverywhere { nth: usize },
    Leave { consumer: u8 },
    Range { from: usize, to: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let nth = 0..60_usize;
    prop_oneof![
        12 => (0..3_u64, 0..6_u8, any::<u16>()).prop_map(|(later, shape, value)| Step::Add { later, shape, value }),
        4 => nth.clone().prop_map(|nth| Step::Remove { nth }),
        1 => (0..40_u64).prop_map(|len| Step::TrimLen { len }),
        1 => (0..40_u64, proptest::option::of(1..30_u64)).prop_map(|(len, limit)| Step::TrimAbout { len, limit }),
        1 => nth.clone().prop_map(|nth| Step::TrimId { nth }),
        1 => (0..40_u64).prop_map(|len| Step::TrimUnneeded { len }),
        4 => (0..3_u8, 0..9_usize).prop_map(|(consumer, count)| Step::Deliver { consumer, count }),
        3 => (nth.clone(), 0..3_u8).prop_map(|(nth, consumer)| Step::Claim { nth, consumer }),
        3 => nth.clone().prop_map(|nth| Step::Acknowledge { nth }),
        1 => nth.clone().prop_map(|nth| Step::RemoveUnneeded { nth }),
        1 => nth.clone().prop_map(|nth| Step::RemoveEverywhere { nth }),
        1 => (0..3_u8).prop_map(|consumer| Step::Leave { consumer }),
        2 => (nth.clone(), nth).prop_map(|(from, to)| Step::Range { from, to }),
    ]
}

/// Fields of six shapes: three of them alike but for their values, one with a value too long for its neighbours.
fn fields(shape: u8, value: u16) -> Fields {
    let value = value.to_string().into_bytes();
    match shape {
        0..3 => vec![b"name".to_vec(), value.clone(), b"12".to_vec(), vec![b'x'; usize::from(shape)]],
        3 => vec![b"other".to_vec(), value],
        4 => vec![b"name".to_vec(), value.clone(), b"13".to_vec(), value],
        _ => vec![b"name".to_vec(), vec![b'y'; 200], b"12".to_vec(), value],
    }
}

fn read(entry: &StreamEntry<'_>) -> (StreamId, Fields) {
    let fields: Fields = entry.fields().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect();
    assert_eq!(fields.len(), 2 * entry.len());
    (entry.id(), fields)
}

const GROUP: &[u8] = b"group";

impl Model {
    fn nth(&self, nth: usize) -> StreamId {
        let id = self.entries.keys().nth(nth % (self.entries.len() + 1));
        id.copied().unwrap_or(StreamId::new(nth as u64, 1))
    }

    fn needs(&self, id: StreamId) -> bool {
        id > self.read_up_to || self.pending.contains_key(&id)
    }

    fn remove(&mut self, id: StreamId) -> bool {
        let there = self.entries.remove(&id).is_some();
        if there {
            self.max_deleted_id = self.max_deleted_id.max(id);
        }
        there
    }

    fn trim(&mut self, count: usize) {
        (0..count).for_each(|_| drop(self.entries.pop_first()));
    }

    fn apply(&mut self, stream: &mut Stream, step: &Step, limits: &Limits) {
        let trim = |to| Trim { to, whole_nodes: false, limit: None, references: References::Keep };
        match *step {
            Step::Add { later, shape, value } => {
                let id = StreamId::new(self.last_id.ms + later, if later == 0 { self.last_id.seq + 1 } else { 0 });
                let fields = fields(shape, value);
                let texts: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
                assert_eq!(stream.add(id, &texts, limits), Ok(()));
                assert_eq!(stream.add(id, &texts, limits), Err(AddError::IdTooSmall));
                self.entries.insert(id, fields);
                self.last_id = id;
                self.added += 1;
            }
            Step::Remove { nth } => {
                let id = self.nth(nth);
                let expected = if self.remove(id) { Removal::Done } else { Removal::Missing };
                assert_eq!(stream.remove(id, References::Keep), expected);
            }
            Step::TrimLen { len } => {
                let expected = self.entries.len().saturating_sub(len as usize);
                assert_eq!(stream.trim(&trim(TrimTo::Len(len))), expected);
                self.trim(expected);
            }
            Step::TrimAbout { len, limit } => {
                let removed = stream.trim(&Trim { whole_nodes: true, limit, ..trim(TrimTo::Len(len)) });
                assert!(removed <= self.entries.len().saturating_sub(len as usize));
                assert!(limit.is_none_or(|limit| removed as u64 <= limit));
                self.trim(removed);
            }
            Step::TrimId { nth } => {
                let id = self.nth(nth);
                self.trims_by_id += 1;
                let expected = self.entries.range(..id).count();
                assert_eq!(stream.trim(&trim(TrimTo::Id(id))), expected);
                self.trim(expected);
            }
            Step::TrimUnneeded { len } => {
                let surplus = self.entries.len().saturating_sub(len as usize);
                let gone: Vec<_> = self.entries.keys().filter(|id| !self.needs(**id)).take(surplus).copied().collect();
                let removed = stream.trim(&Trim { references: References::Needed, ..trim(TrimTo::Len(len)) });
                assert_eq!(removed, gone.len());
                gone.iter().for_each(|id| drop(self.entries.remove(id)));
            }
            Step::RemoveUnneeded { .. } | Step::RemoveEverywhere { .. } => self.remove_by_reference(stream, step),
            Step::Range { from, to } => {
                let ids = self.nth(from)..=self.nth(to);
                let expected = self.entries.iter().filter(|(id, _)| ids.contains(id));
                let mut expected: Vec<_> = expected.map(|(id, fields)| (*id, fields.clone())).collect();
                let walk =
                    |direction| stream.range(ids.clone(), direction).map(|entry| read(&entry)).collect::<Vec<_>>();
                assert_eq!(walk(Direction::Ascending), expected);
                expected.reverse();
                assert_eq!(walk(Direction::Descending), expected);
            }
            _ => self.apply_to_group(&mut stream.open_group(GROUP).expect("it was made at the start"), step),
        }
    }

    fn remove_by_reference(&mut self, stream: &mut Stream, step: &Step) {
        match *step {
            Step::RemoveUnneeded { nth } => {
                let id = self.nth(nth);
                let expected = match (self.entries.contains_key(&id), self.needs(id)) {
                    (false, _) => Removal::Missing,
                    (true, true) => Removal::Needed,
                    (true, false) => Removal::Done,
                };
                assert_eq!(stream.remove(id, References::Needed), expected);
                if expected == Removal::Done {
                    self.remove(id);
                }
            }
            Step::RemoveEverywhere { nth } => {
                let id = self.nth(nth);
                self.pending.remove(&id);
                let expected = if self.remove(id) { Removal::Done } else { Removal::Missing };
                assert_eq!(stream.remove(id, References::Drop), expected);
            }
            _ => unreachable!("no other step is passed on"),
        }
    }

    fn apply_to_group(&mut self, group: &mut OpenGroup<'_>, step: &Step) {
        let number = |group: &mut OpenGroup<'_>, consumer: u8| {
            let found = group.find_consumer(&[consumer]);
            found.or_else(|| group.add_consumer(&[consumer], 1)).expect("it was not there")
        };
        match *step {
            Step::Deliver { consumer, count } => {
                let expected: Vec<_> =
                    self.entries.keys().filter(|id| **id > self.read_up_to).take(count).copied().collect();
                let (number, mut delivered) = (number(group, consumer), Vec::new());
                group.deliver(number, count, Acknowledgement::Awaited, 7, |entry, _| delivered.push(entry.id()));
                assert_eq!(delivered, expected);
                delivered.iter().for_each(|id| _ = self.pending.insert(*id, (consumer, 1)));
                self.read_up_to = delivered.last().copied().unwrap_or(self.read_up_to);
            }
            Step::Claim { nth, consumer } => {
                let Some(id) = self.pending.keys().nth(nth % (self.pending.len() + 1)).copied() else { return };
                let number = number(group, consumer);
                let claim = Claim {
                    consumer: number,
                    min_idle: 0,
                    delivered_at: 9,
                    deliveries: None,
                    uncounted: false,
                    force: false,
                };
                let gone = !self.entries.contains_key(&id);
                match group.claim(id, &claim, 9) {
                    Claimed::Gone(_) => assert!(gone && self.pending.remove(&id).is_some()),
                    Claimed::Taken(pending) => {
                        let deliveries = self.pending[&id].1 + 1;
                        assert_eq!(pending, Pending { consumer: number, delivered_at: 9, deliveries });
                        self.pending.insert(id, (consumer, deliveries));
                    }
                    Claimed::Left => panic!("it was pending, and no time was asked for"),
                }
            }
            Step::Acknowledge { nth } => {
                let id = self.pending.keys().nth(nth % (self.pending.len() + 1)).copied().unwrap_or(self.nth(nth));
                assert_eq!(group.acknowledge(id), self.pending.remove(&id).is_some());
            }
            Step::Leave { consumer } => {
                let before = self.pending.len();
                self.pending.retain(|_, (owner, _)| *owner != consumer);
                assert_eq!(group.remove_consumer(&[consumer]).unwrap_or(0), before - self.pending.len());
            }
            _ => unreachable!("all other steps are about the stream"),
        }
    }

    fn compare(&self, stream: &Stream) {
        let extent = Extent {
            len: self.entries.len(),
            first_id: self.entries.keys().next().copied().unwrap_or_default(),
            last_id: self.last_id,
            max_deleted_id: self.max_deleted_id,
            entries_added: self.added,
        };
        assert_eq!(*stream.extent(), extent);
        assert_eq!(stream.last_entry_id(), self.entries.keys().next_back().copied());
        let group = stream.group(GROUP).expect("it was made at the start");
        let everything = StreamId::MIN..=StreamId::MAX;
        let owner = |pending: &Pending| group.consumer(pending.consumer).name()[0];
        let pending: BTreeMap<_, _> =
            group.pending(everything.clone()).map(|(id, p)| (id, (owner(p), p.deliveries))).collect();
        assert_eq!(pending, self.pending);
        for consumer in group.consumers() {
            let own: BTreeSet<_> = consumer.pending(everything.clone()).collect();
            let owner = consumer.name()[0];
            let expected = self.pending.iter().filter(|(_, (name, _))| *name == owner).map(|(id, _)| *id);
            assert_eq!(own, expected.collect());
        }
        let blocks: usize = stream.entries.nodes().map(node::Node::heap_size).sum();
        let places = match stream.entries.bases().len() {
            0 => 0,
            nodes => (48 * nodes).max(320),
        };
        assert_eq!(stream.entries.heap_size(), blocks + places);
        let live: usize = stream.entries.nodes().map(|node| node.counts().0).sum();
        assert_eq!(live, stream.len());
        let empty = stream.entries.nodes().filter(|node| node.counts().0 == 0).count();
        assert!(empty <= self.trims_by_id, "only trimming by id leaves a node of tombstones");
        // The group was given room for its name and its place; the rest is its own.
        assert_eq!(stream.group_bytes, group.heap_size() + GROUP.len() + GROUP_PLACE_BYTES);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_stream_does_what_the_model_does(
        steps in proptest::collection::vec(step(), 1..120),
        node_entries in 0..7_usize,
        node_bytes in prop_oneof![Just(0_usize), Just(4096), 100..400_usize],
    ) {
        let limits = Limits { stream_node_max_entries: node_entries, stream_node_max_bytes: node_bytes, ..Limits::default() };
        let (mut stream, mut model) = (Stream::new(), Model::default());
        prop_assert!(stream.create_group(GROUP, StreamId::MIN, Some(0)) && !stream.create_group(GROUP, StreamId::MIN, None));
        for step in &steps {
            model.apply(&mut stream, step, &limits);
            model.compare(&stream);
        }
        let all: Vec<_> = stream.range(StreamId::MIN..=StreamId::MAX, Direction::Ascending).map(|entry| read(&entry)).collect();
        prop_assert_eq!(all, model.entries.clone().into_iter().collect::<Vec<_>>());
        let (copy, len) = (stream.clone(), stream.len());
        prop_assert!(stream.destroy_group(GROUP) && stream.group_bytes == 0);
        prop_assert_eq!((copy.len(), copy.groups_len()), (len, 1));
    }
}

/// What redis-server 7.0.15 keeps after `XADD st 5-1 name first n 1`, `XADD st 5-2 name second n 12345`, `XADD st 7-0 other x`, `XDEL st 5-2`, as DUMP
/// tells it.
#[test]
fn a_node_has_the_bytes_that_redis_gives_it() {
    let mut stream = Stream::new();
    let entries: [(StreamId, &[&[u8]]); 3] = [
        (StreamId::new(5, 1), &[b"name", b"first", b"n", b"1"]),
        (StreamId::new(5, 2), &[b"name", b"second", b"n", b"12345"]),
        (StreamId::new(7, 0), &[b"other", b"x"]),
    ];
    for (id, fields) in entries {
        stream.add(id, fields, &Limits::default()).expect("the ids ascend");
    }
    assert_eq!(stream.remove(StreamId::new(5, 2), References::Keep), Removal::Done);
    let node = stream.entries.nodes().next().expect("there is one");
    assert_eq!(node.block().as_listpack().escape_ascii().to_string(), NODE.escape_ascii().to_string());
    assert_eq!(stream.entries.nodes().count(), 1);
}

const NODE: &[u8] = b"R\x00\x00\x00\x19\x00\x02\x01\x01\x01\x02\x01\x84name\x05\x81n\x02\x00\x01\
    \x02\x01\x00\x01\x00\x01\x85first\x06\x01\x01\x05\x01\
    \x03\x01\x00\x01\x01\x01\x86second\x07\xf190\x03\x05\x01\
    \x00\x01\x02\x01\xdf\xff\x02\x01\x01\x85other\x06\x81x\x02\x06\x01\xff";

#[test]
fn an_entry_beyond_a_block_is_refused() {
    let mut stream = Stream::new();
    let half = vec![b'x'; redpoll_structures::packed::MAX_BYTES / 2];
    assert_eq!(
        stream.add(StreamId::new(1, 1), &[b"a", &half, b"b", &half], &Limits::default()),
        Err(AddError::TooLarge)
    );
    assert!(stream.is_empty() && stream.extent().entries_added == 0);
}

#[test]
fn a_group_knows_how_far_behind_it_is() {
    let mut stream = Stream::new();
    let limits = Limits::default();
    stream.create_group(GROUP, StreamId::MIN, None);
    let lag = |stream: &Stream| stream.extent().lag(stream.group(GROUP).expect("it was just made"));
    assert_eq!(lag(&stream), Some(0));
    for ms in 1..=5 {
        stream.add(StreamId::new(ms, 0), &[b"a", b"1"], &limits).expect("the ids ascend");
    }
    assert_eq!(lag(&stream), Some(5));
    stream.open_group(GROUP).expect("it is there").last_id = StreamId::new(2, 0);
    assert_eq!(lag(&stream), None);
    stream.open_group(GROUP).expect("it is there").entries_read = Some(2);
    assert_eq!(lag(&stream), Some(3));
    stream.remove(StreamId::new(3, 0), References::Keep);
    assert_eq!(lag(&stream), None);
    // What the group counted holds where nothing after its last id was deleted.
    stream.open_group(GROUP).expect("it is there").last_id = StreamId::new(5, 0);
    assert_eq!(lag(&stream), Some(3));
    stream.open_group(GROUP).expect("it is there").entries_read = None;
    assert_eq!(lag(&stream), Some(0));
}
