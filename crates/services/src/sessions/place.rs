//! Where a session's keys are.

use super::id::{Handle, SessionId};
use crate::keys::{Group, Key, Keyring, Tenant};

/// Parts of a tenant's sessions. Fixed, because every process must agree on where a session is.
pub const PARTITIONS: usize = 16;

/// Keys that share a hash tag.
#[derive(Debug)]
pub(super) struct Partition {
    group: Group,
}

/// Places a session: FNV-1a over its user's name, or over the ref of one that has no user.
pub(super) fn partition_of(bytes: &[u8]) -> u8 {
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    (bytes.iter().fold(0x811c_9dc5_u32, mix) % PARTITIONS as u32) as u8
}

impl Partition {
    /// Names the keys of a tenant's partition.
    pub(super) fn new(keyring: &Keyring, tenant: &Tenant, number: usize) -> Self {
        Self { group: keyring.kept_group(tenant, "sessions", &[&format!("{number:02}")]) }
    }

    /// Returns the sets of the index: KEYS[1..3] of the steps.
    pub(super) fn index(&self) -> [Key; 3] {
        [self.group.key("x"), self.users(), self.workspaces()]
    }

    pub(super) fn users(&self) -> Key {
        self.group.key("u")
    }

    pub(super) fn workspaces(&self) -> Key {
        self.group.key("w")
    }

    pub(super) fn session(&self, handle: Handle) -> Key {
        self.group.named("s", &handle.reference())
    }

    /// Returns what is a session's own: its hash and its messages.
    pub(super) fn pair(&self, handle: Handle) -> [Key; 2] {
        let reference = handle.reference();
        [self.group.named("s", &reference), self.group.named("m", &reference)]
    }

    /// Returns index, session and grace: KEYS[1..6] of the steps. There is a grace key for each id of a session, since
    /// several may be in theirs.
    pub(super) fn keys(&self, id: &SessionId) -> Vec<Key> {
        let grace = self.group.named("g", &format!("{}.{}", id.handle().reference(), id.proof()));
        self.index().into_iter().chain(self.pair(id.handle())).chain([grace]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_stable_and_even() {
        assert_eq!(usize::from(partition_of(b"")), 0x811c_9dc5 % PARTITIONS);
        assert_eq!(usize::from(partition_of(b"foobar")), 0xbf9c_f968 % PARTITIONS);
        let mut counts = [0; PARTITIONS];
        (0..16_000).for_each(|number| counts[usize::from(partition_of(format!("user-{number}").as_bytes()))] += 1);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn all_keys_of_a_step_share_a_hash_tag() {
        let partition = Partition::new(&Keyring::new("rp").unwrap(), &Tenant::new("a}:{b").unwrap(), 7);
        for key in partition.keys(&SessionId::generate(None).unwrap()) {
            assert!(key.as_str().starts_with("rp:kept:{a%7D%3A%7Bb:sessions:07}:"), "{key}");
        }
    }
}
