//! The map against a model of two standard collections.

use std::collections::{BTreeSet, HashMap, HashSet};

use proptest::prelude::*;

use super::*;

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        // SAFETY: tests compare entries of one living map.
        unsafe { Some(self.order(other.score, other.member())) }
    }
}

impl RankedMap {
    /// Panics if the indexes disagree or a rule of the tree is broken.
    fn check(&self) {
        self.tree.check();
        assert_eq!(self.table.len(), self.len());
        let mut node_bytes = 0;
        for entry in self.tree.range(0, usize::MAX, Direction::Ascending) {
            let (member, score) = self.element(entry);
            let node = self.find(member).expect("in the table too");
            assert_eq!(node.as_ref(), entry.node);
            assert_eq!(node.score().to_bits(), score.to_bits());
            node_bytes += node.heap_size();
        }
        assert_eq!(node_bytes, self.node_bytes);
    }
}

/// A score that can be sorted; the model holds no zeros of either sign at once.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score(f64);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[derive(Default)]
struct Model {
    scores: HashMap<Vec<u8>, f64>,
    order: BTreeSet<(Score, Vec<u8>)>,
}

impl Model {
    fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let old = self.scores.insert(member.to_vec(), score);
        if let Some(old) = old {
            self.order.remove(&(Score(old), member.to_vec()));
        }
        self.order.insert((Score(score), member.to_vec()));
        old
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let old = self.scores.remove(member)?;
        self.order.remove(&(Score(old), member.to_vec()));
        Some(old)
    }

    fn elements(&self) -> Vec<(Vec<u8>, f64)> {
        self.order.iter().map(|(score, member)| (member.clone(), score.0)).collect()
    }
}

fn owned<'a>(elements: impl Iterator<Item = (&'a [u8], f64)>) -> Vec<(Vec<u8>, f64)> {
    elements.map(|(member, score)| (member.to_vec(), score)).collect()
}

fn compare(map: &RankedMap, model: &Model) {
    map.check();
    let elements = model.elements();
    assert_eq!(owned(map.iter()), elements);
    for (rank, (member, score)) in elements.iter().enumerate() {
        assert_eq!(map.rank(member), Some(rank));
        assert_eq!(map.at(rank), Some((&member[..], *score)));
        let low = elements.partition_point(|(_, other)| other < score);
        let high = elements.partition_point(|(_, other)| other <= score);
        assert_eq!(map.rank_of_score(Bound::Included(*score)), low);
        assert_eq!(map.rank_of_score(Bound::Excluded(*score)), high);
    }
    assert_eq!(map.at(elements.len()), None);
    assert_eq!(map.rank_of_score(Bound::Unbounded), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u16, i8),
    Remove(u16),
    RemoveRange(u16, u16),
    PopFirst,
    PopLast,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..600u16, -20..20i8).prop_map(|(member, score)| Step::Insert(member, score)),
        5 => (0..600u16).prop_map(Step::Remove),
        1 => (0..600u16, 0..90u16).prop_map(|(start, count)| Step::RemoveRange(start, count)),
        1 => Just(Step::PopFirst),
        1 => Just(Step::PopLast),
    ]
}

fn name(member: u16) -> Vec<u8> {
    format!("member:{member}").into_bytes()
}

fn apply(step: &Step, map: &mut RankedMap, model: &mut Model) {
    match *step {
        Step::Insert(member, score) => {
            let (member, score) = (name(member), f64::from(score) / 4.0);
            assert_eq!(map.insert(&member, score), model.insert(&member, score));
            assert_eq!(map.score(&member), Some(score));
        }
        Step::Remove(member) => {
            let member = name(member);
            assert_eq!(map.remove(&member), model.remove(&member));
            assert_eq!((map.score(&member), map.rank(&member)), (None, None));
        }
        Step::RemoveRange(start, count) => {
            let expected: Vec<_> =
                model.elements().into_iter().skip(usize::from(start)).take(usize::from(count)).collect();
            let mut removed = Vec::new();
            let count = map.remove_range(usize::from(start), usize::from(count), |member, score| {
                removed.push((member.to_vec(), score));
            });
            assert_eq!((count, &removed), (expected.len(), &expected));
            for (member, _) in expected {
                model.remove(&member);
            }
        }
        Step::PopFirst => {
            let expected = model.elements().first().cloned();
            assert_eq!(map.pop_first(), expected);
            expected.map(|(member, _)| model.remove(&member));
        }
        Step::PopLast => {
            let expected = model.elements().last().cloned();
            assert_eq!(map.pop_last(), expected);
            expected.map(|(member, _)| model.remove(&member));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn behaves_as_the_model(steps in proptest::collection::vec(step(), 1..1_200)) {
        let (mut map, mut model) = (RankedMap::new(1), Model::default());
        for (at, step) in steps.iter().enumerate() {
            apply(step, &mut map, &mut model);
            if at % 100 == 0 {
                compare(&map, &model);
            }
        }
        compare(&map, &model);
        let copy = map.clone();
        compare(&copy, &model);
        let backwards = RankedMap::from_sorted(2, owned(map.iter()).into_iter().rev());
        compare(&backwards, &model);
    }

    #[test]
    fn members_in_lexical_order(members in proptest::collection::btree_set("[ab]{0,6}", 0..120), probe in "[ab]{0,6}") {
        let mut map = RankedMap::new(3);
        for member in &members {
            map.insert(member.as_bytes(), 0.0);
        }
        map.check();
        let below = members.iter().filter(|member| **member < probe).count();
        let through = below + usize::from(members.contains(&probe));
        prop_assert_eq!(map.rank_of_member(Bound::Included(probe.as_bytes())), below);
        prop_assert_eq!(map.rank_of_member(Bound::Excluded(probe.as_bytes())), through);
        prop_assert_eq!(map.rank_of_member(Bound::Unbounded), 0);
    }
}

/// A generator good enough to mix a workload.
struct Mixer(u64);

impl Mixer {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn a_hundred_thousand_elements() {
    let mut mixer = Mixer(7);
    let (mut map, mut model) = (RankedMap::new(4), Model::default());
    for _ in 0..200_000 {
        let member = mixer.below(100_000).to_string().into_bytes();
        let score = mixer.below(1 << 20) as f64 / 8.0;
        assert_eq!(map.insert(&member, score), model.insert(&member, score));
    }
    for _ in 0..50_000 {
        let member = mixer.below(100_000).to_string().into_bytes();
        if mixer.below(2) == 0 {
            assert_eq!(map.remove(&member), model.remove(&member));
        } else if let Some(score) = map.score(&member) {
            map.insert(&member, score + 0.125);
            model.insert(&member, score + 0.125);
        }
    }
    map.check();
    let elements = model.elements();
    assert_eq!(owned(map.iter()), elements);
    for (rank, (member, _)) in elements.iter().enumerate().step_by(101) {
        assert_eq!(map.rank(member), Some(rank));
    }
    let mut backwards = owned(map.range(map.len() - 1, usize::MAX, Direction::Descending));
    backwards.reverse();
    assert_eq!(backwards, elements);
    let mut seen = HashSet::new();
    let mut cursor = 0;
    loop {
        cursor = map.scan(cursor, |member, score| {
            assert_eq!(model.scores.get(member), Some(&score));
            seen.insert(member.to_vec());
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), map.len());
    while !map.is_empty() {
        let start = mixer.below(map.len() as u64) as usize;
        map.remove_range(start, 1 + mixer.below(3_000) as usize, |_, _| {});
    }
    map.check();
    assert_eq!(map.node_bytes, 0);
}

#[test]
fn zeros_are_equal_and_infinities_are_ends() {
    let mut map = RankedMap::new(5);
    map.insert(b"b", -0.0);
    map.insert(b"a", 0.0);
    map.insert(b"low", f64::NEG_INFINITY);
    map.insert(b"high", f64::INFINITY);
    let members: Vec<&[u8]> = map.iter().map(|(member, _)| member).collect();
    assert_eq!(members, [&b"low"[..], b"a", b"b", b"high"]);
    assert_eq!(map.insert(b"a", -0.0), Some(0.0));
    assert_eq!(map.rank_of_score(Bound::Included(-0.0)), 1);
    assert_eq!(map.rank_of_score(Bound::Excluded(0.0)), 3);
    assert_eq!(map.rank_of_score(Bound::Excluded(f64::INFINITY)), 4);
    map.check();
}

#[test]
#[should_panic(expected = "a score is a number")]
fn not_a_number_is_no_score() {
    RankedMap::new(6).insert(b"member", f64::NAN);
}

#[test]
fn random_picks_reach_both_ends() {
    let map = RankedMap::from_sorted(7, (0..10u8).map(|at| ([at], f64::from(at))));
    assert_eq!(map.random(0), map.at(0));
    assert_eq!(map.random(u64::MAX), map.at(9));
    assert_eq!(RankedMap::new(7).random(1), None);
}

#[test]
fn sixty_bytes_an_element_at_most() {
    let mut mixer = Mixer(8);
    let mut random = RankedMap::new(8);
    let mut ascending = RankedMap::new(8);
    let mut member_bytes = 0;
    for at in 0..200_000 {
        let member = format!("member:{at:09}");
        member_bytes += member.len();
        random.insert(member.as_bytes(), mixer.below(1 << 30) as f64);
        ascending.insert(member.as_bytes(), f64::from(at));
    }
    for map in [&random, &ascending] {
        let overhead = (map.heap_size() - member_bytes) as f64 / map.len() as f64;
        assert!(overhead < 60.0, "{overhead}");
    }
    assert!(ascending.heap_size() < random.heap_size());
}

#[test]
fn may_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<RankedMap>();
}

/// Whoever watches a removal may panic; the map must not mention what is gone.
#[test]
fn a_panicking_watcher_leaves_no_dangling_entry() {
    let mut map = RankedMap::from_sorted(9, (0..5_000u32).map(|at| (at.to_be_bytes(), f64::from(at))));
    for start in [0, 1_000, 3_000] {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            map.remove_range(start, 200, |_, score| assert!(score as u32 % 100 != 50, "watched enough"));
        }));
        assert!(result.is_err());
        map.tree.check();
        assert_eq!(map.iter().count(), map.len());
    }
}
