//! The counted tree against a vector, with every rule checked on the way.

use proptest::prelude::*;

use super::*;

impl<E: Copy + PartialOrd + std::fmt::Debug> CountedTree<E> {
    /// Panics if any rule of the tree is broken.
    pub(in crate::ranked_map) fn check(&self) {
        let mut leaves = Vec::new();
        let mut inners = 0;
        let len = if self.len == 0 { 0 } else { self.check_node(self.root, 0, true, true, &mut leaves, &mut inners) };
        assert_eq!(len, self.len);
        if self.len == 0 {
            leaves.push(self.root);
            assert_eq!(self.height, 0);
        }
        assert_eq!(leaves.len(), self.leaves.live());
        assert_eq!(inners, self.inners.live());
        assert_eq!(self.slots, leaves.iter().map(|&id| self.leaves[id].entries.capacity()).sum::<usize>());
        let mut previous = NONE;
        for (at, &id) in leaves.iter().enumerate() {
            assert_eq!(self.leaves[id].previous, previous);
            assert_eq!(self.leaves[id].next, leaves.get(at + 1).copied().unwrap_or(NONE));
            previous = id;
        }
        let entries: Vec<E> = leaves.iter().flat_map(|&id| self.leaves[id].entries.iter().copied()).collect();
        assert!(entries.is_sorted_by(|a, b| a < b), "{entries:?}");
    }

    fn check_node(
        &self,
        id: u32,
        depth: usize,
        first: bool,
        last: bool,
        leaves: &mut Vec<u32>,
        inners: &mut usize,
    ) -> usize {
        let width = self.width(id, depth);
        assert!(width <= CAPACITY);
        assert!(width >= if first || last { 1 } else { MINIMUM });
        if depth == self.height {
            leaves.push(id);
            assert!(self.leaves[id].entries.capacity() <= CAPACITY);
            return width;
        }
        *inners += 1;
        let inner = &self.inners[id];
        assert!(depth > 0 || width >= 2);
        assert_eq!((inner.mins.len(), inner.counts.len()), (width, width));
        for child in 0..width {
            let below = inner.children[child];
            assert_eq!(inner.mins[child], self.min(below, depth + 1));
            let (first, last) = (first && child == 0, last && child + 1 == width);
            assert_eq!(inner.counts[child], self.check_node(below, depth + 1, first, last, leaves, inners));
        }
        inner.counts.iter().sum()
    }
}

fn filled(numbers: impl IntoIterator<Item = u32>) -> CountedTree<u32> {
    let mut tree = CountedTree::new();
    for number in numbers {
        tree.insert(|&other| other < number, number);
    }
    tree.check();
    tree
}

fn all(tree: &CountedTree<u32>) -> Vec<u32> {
    tree.range(0, usize::MAX, Direction::Ascending).collect()
}

#[test]
fn in_order_leaves_are_full() {
    for tree in [filled(0..20_000), filled((0..20_000).rev())] {
        assert_eq!(all(&tree), (0..20_000).collect::<Vec<_>>());
        assert!(tree.slots <= 20_000 + CAPACITY, "{}", tree.slots);
    }
    let mut tree = CountedTree::new();
    for number in 0..20_000 {
        tree.push(number);
    }
    tree.check();
    assert_eq!(all(&tree), (0..20_000).collect::<Vec<_>>());
}

/// Once the first minimum of a new root was read from the wrong arena: seen only above inner nodes, and only when the
/// first leaf was no longer the oldest.
#[test]
fn every_rule_holds_while_the_tree_grows_high() {
    for factor in [1u32, 7_919, 9_999] {
        let mut tree = filled(0..200);
        assert_eq!(tree.remove_range(0, CAPACITY, |_| {}), CAPACITY);
        let mut height = tree.height;
        for number in (0..10_000).map(|at| 1_000 + at * factor % 10_000) {
            tree.insert(|&other| other < number, number);
            if tree.height > height {
                height = tree.height;
                tree.check();
            }
        }
        assert_eq!(height, 2);
        tree.check();
        tree.remove_range(1, tree.len() - 2, |_| {});
        tree.check();
        assert_eq!(all(&tree), [CAPACITY as u32, 10_999]);
    }
}

#[test]
fn removal_from_either_end_and_the_middle() {
    for start in [0usize, 5_000, 9_990] {
        for count in [1usize, 63, 64, 65, 4_000, 10_000] {
            let mut tree = filled(0..10_000);
            let mut model: Vec<u32> = (0..10_000).collect();
            let mut removed = Vec::new();
            let there_are = count.min(10_000 - start);
            assert_eq!(tree.remove_range(start, count, |number| removed.push(number)), there_are);
            assert_eq!(removed, model.drain(start..start + there_are).collect::<Vec<_>>());
            tree.check();
            assert_eq!(all(&tree), model);
        }
    }
}

#[test]
fn down_to_nothing_and_up_again() {
    let mut tree = filled(0..5_000);
    for number in (0..5_000).map(|at| at * 2_039 % 5_000) {
        assert_eq!(tree.remove(|&other| other <= number), Some(number));
        if number % 61 == 0 {
            tree.check();
        }
    }
    tree.check();
    assert_eq!((tree.len(), tree.at(0)), (0, None));
    assert_eq!(tree.remove(|_| true), None);
    assert_eq!(tree.remove_range(0, 1, |_| {}), 0);
    tree.insert(|_| false, 7);
    tree.check();
    assert_eq!(all(&tree), [7]);
}

/// What a random run does next; numbers are reduced to what fits.
#[derive(Debug, Clone)]
enum Step {
    Insert(u32),
    Run { from: u32, count: u32, up: bool },
    Remove(u32),
    RemoveRange { start: u32, count: u32 },
    Replace { rank: u32, by: i32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..100_000u32).prop_map(Step::Insert),
        2 => (0..100_000u32, 0..1_200u32, any::<bool>()).prop_map(|(from, count, up)| Step::Run { from, count, up }),
        3 => (0..100_000u32).prop_map(Step::Remove),
        1 => (0..100_000u32, 0..1_500u32).prop_map(|(start, count)| Step::RemoveRange { start, count }),
        1 => (0..100_000u32, -40..40i32).prop_map(|(rank, by)| Step::Replace { rank, by }),
    ]
}

fn insert(tree: &mut CountedTree<u32>, model: &mut Vec<u32>, number: u32) {
    if let Err(rank) = model.binary_search(&number) {
        model.insert(rank, number);
        tree.insert(|&other| other < number, number);
    }
}

fn apply(step: &Step, tree: &mut CountedTree<u32>, model: &mut Vec<u32>) {
    match *step {
        Step::Insert(number) => insert(tree, model, number),
        Step::Run { from, count, up } => {
            for at in 0..count {
                insert(tree, model, if up { from + at } else { from + count - at });
            }
        }
        Step::Remove(number) if !model.is_empty() => {
            let rank = number as usize % model.len();
            let number = model.remove(rank);
            assert_eq!(tree.remove(|&other| other <= number), Some(number));
        }
        Step::RemoveRange { start, count } if !model.is_empty() => {
            let start = start as usize % model.len();
            let end = (start + count as usize).min(model.len());
            let mut removed = Vec::new();
            tree.remove_range(start, count as usize, |number| removed.push(number));
            assert_eq!(removed, model.drain(start..end).collect::<Vec<_>>());
        }
        Step::Replace { rank, by } if !model.is_empty() => {
            let rank = rank as usize % model.len();
            let (old, new) = (model[rank], model[rank].saturating_add_signed(by));
            if tree.replace_or_remove(|&other| other <= old, new, |&previous, &next| previous < new && new < next) {
                model[rank] = new;
            } else {
                model.remove(rank);
            }
        }
        Step::Remove(_) | Step::RemoveRange { .. } | Step::Replace { .. } => {}
    }
}

proptest! {
    #[test]
    fn behaves_as_a_vector(
        steps in proptest::collection::vec(step(), 1..120),
        probes in proptest::collection::vec(0..100_000u32, 8),
    ) {
        let mut tree = CountedTree::new();
        let mut model = Vec::new();
        for step in &steps {
            apply(step, &mut tree, &mut model);
            tree.check();
        }
        prop_assert_eq!(&all(&tree), &model);
        for &probe in &probes {
            let below = model.partition_point(|&other| other < probe);
            prop_assert_eq!(tree.partition_point(|&other| other < probe), below);
            let rank = probe as usize % (model.len() + 1);
            prop_assert_eq!(tree.at(rank), model.get(rank).copied());
            let up: Vec<u32> = tree.range(rank, 100, Direction::Ascending).collect();
            prop_assert_eq!(up, model.iter().skip(rank).take(100).copied().collect::<Vec<_>>());
            let down: Vec<u32> = tree.range(rank, 100, Direction::Descending).collect();
            let expected = model.get(..=rank).unwrap_or(&[]).iter().rev().take(100).copied().collect::<Vec<_>>();
            prop_assert_eq!(down, expected);
        }
    }
}
