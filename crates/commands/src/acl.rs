//! Users: who may log in, and what they may do.
//!
//! ```text
//! user   on │ off, passwords │ nopass
//!  ├ root selector      commands, key patterns, channel patterns
//!  └ more selectors     a command is allowed if one of them allows all of it
//! ```
//!
//! A session holds its user, not a copy of the rights: a change holds from the next command on. Almost everybody is the default user, who may do
//! everything; that is kept in one flag beside the rights, so that such a session pays one branch for a command. Passwords are kept as
//! SHA-256 and compared in constant time.
//!
//! ```text
//! acl/rules      the language of ACL SETUSER: reading rules, writing them out
//! acl/check      may this user run this command with these arguments?
//! acl/file       users as lines of a file or of the settings
//! acl/log        refusals, for ACL LOG
//! acl/presence   clients that are there when users change
//! acl/admin      the ACL command
//! ```
//!
//! Callers in the same process and the log are nobody's users: they may do everything ([`Users::trusted`]).

pub(crate) mod admin;
pub(crate) mod check;
pub(crate) mod file;
mod log;
mod presence;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::registry::Registry;
pub use file::{configure, load_text};
pub(crate) use log::{Log, Refusal};
pub(crate) use rules::{Basis, Rights, Selector};

/// The user of who has not logged in as another.
pub const DEFAULT_USER: &[u8] = b"default";

/// The most users.
const USERS_MAX: usize = 100_000;

/// A password, hashed.
type PasswordHash = [u8; 32];

/// A user.
#[derive(Debug)]
pub struct User {
    /// The name.
    pub name: Box<[u8]>,
    /// May do everything: no need to look at the rights.
    unrestricted: AtomicBool,
    rights: RwLock<Rights>,
}

impl User {
    fn new(name: &[u8], rights: Rights) -> Arc<User> {
        let unrestricted = AtomicBool::new(rights.are_total());
        Arc::new(User { name: name.into(), unrestricted, rights: RwLock::new(rights) })
    }

    /// Tells whether the user may do everything.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted.load(Ordering::Relaxed)
    }

    fn put(&self, rights: Rights) {
        let mut current = self.rights.write();
        // First down, then up: nobody may do more than one of the two for a moment.
        self.unrestricted.store(rights.are_total() && current.are_total(), Ordering::Relaxed);
        let total = rights.are_total();
        *current = rights;
        self.unrestricted.store(total, Ordering::Relaxed);
    }
}

/// All users.
#[derive(Debug)]
pub struct Users {
    by_name: RwLock<BTreeMap<Box<[u8]>, Arc<User>>>,
    default: Arc<User>,
    trusted: Arc<User>,
    pub(crate) log: Mutex<Log>,
    /// One change of users at a time.
    changes: Mutex<()>,
}

impl Users {
    /// Makes the default user, who needs no password and may do everything.
    pub fn new(registry: &Registry) -> Users {
        let default = User::new(DEFAULT_USER, Rights::of_the_default_user(registry));
        let trusted = User::new(DEFAULT_USER, Rights::of_the_default_user(registry));
        let by_name = BTreeMap::from([(default.name.clone(), Arc::clone(&default))]);
        Users { by_name: RwLock::new(by_name), default, trusted, log: Mutex::default(), changes: Mutex::new(()) }
    }

    /// Returns the user of who has not logged in.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// Returns the user of callers in the process itself, who may do everything and is nobody one can log in as.
    pub fn trusted(&self) -> &Arc<User> {
        &self.trusted
    }

    /// Tells whether who has not logged in is logged in all the same, as the default user.
    pub fn default_needs_no_password(&self) -> bool {
        let rights = self.default.rights.read();
        rights.enabled && rights.nopass
    }

    /// Tells whether the default user has no password that could be given.
    pub fn default_takes_any_password(&self) -> bool {
        self.default.rights.read().nopass
    }

    /// Finds a user.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Arc<User>> {
        self.by_name.read().get(name).cloned()
    }

    /// Returns all users in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<User>> {
        self.by_name.read().values().cloned().collect()
    }

    /// Tells whether there is only the default user, as it is if nothing but its password is set.
    pub(crate) fn are_as_without_rules(&self, password: &str) -> bool {
        let rights = self.default.rights.read();
        let passwords = usize::from(!password.is_empty());
        let as_set = rights.nopass == password.is_empty() && rights.passwords.len() == passwords;
        let fits = password.is_empty() || rights.passwords.contains(&hash(password.as_bytes()));
        self.by_name.read().len() == 1 && rights.enabled && rights.are_total() && as_set && fits
    }

    /// Returns the user with this name and password, if they may log in.
    pub(crate) fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        let hash = hash(password);
        let user = self.find(name)?;
        let rights = user.rights.read();
        let fits = rights.passwords.iter().fold(Choice::from(0), |fits, known| fits | known.ct_eq(&hash));
        let admitted = rights.enabled && (rights.nopass || bool::from(fits));
        drop(rights);
        admitted.then_some(user)
    }

    /// Makes or changes a user by rules; if one is refused, with the text for the client, nothing has changed.
    pub(crate) fn set(&self, basis: Basis<'_>, name: &[u8], rules: &[&[u8]]) -> Result<Arc<User>, Vec<u8>> {
        let _changing = self.changes.lock();
        let existing = self.find(name);
        let fresh = || Rights::of_a_new_user(basis);
        let mut rights = existing.as_ref().map_or_else(fresh, |user| user.rights.read().clone());
        rights.apply_all(basis, rules)?;
        if let Some(user) = existing {
            user.put(rights);
            return Ok(user);
        }
        let mut users = self.by_name.write();
        if users.len() >= USERS_MAX {
            return Err(b"ERR There are too many users".to_vec());
        }
        let user = User::new(name, rights);
        users.insert(name.into(), Arc::clone(&user));
        Ok(user)
    }

    /// Forgets a user, who must not be the default user; who is logged in as them may do nothing more.
    pub(crate) fn delete(&self, name: &[u8]) -> Option<Arc<User>> {
        let _changing = self.changes.lock();
        let user = self.by_name.write().remove(name)?;
        user.put(Rights::none());
        Some(user)
    }

    /// Puts these users in the place of all there are. Sessions keep their user if there is still one of the name.
    pub(crate) fn replace(&self, registry: &Registry, mut users: BTreeMap<Vec<u8>, Rights>) {
        let _changing = self.changes.lock();
        let default = users.remove(DEFAULT_USER).unwrap_or_else(|| Rights::of_the_default_user(registry));
        self.default.put(default);
        let mut by_name = self.by_name.write();
        by_name.retain(|name, user| {
            let stays = **name == *DEFAULT_USER || users.contains_key(&**name);
            if !stays {
                user.put(Rights::none());
            }
            stays
        });
        for (name, rights) in users {
            match by_name.get(name.as_slice()) {
                Some(user) => user.put(rights),
                None => drop(by_name.insert(name.as_slice().into(), User::new(&name, rights))),
            }
        }
    }

    /// Gives the default user this password and no other, as `requirepass` does; none if it is empty.
    pub(crate) fn require_password(&self, password: &str) {
        let _changing = self.changes.lock();
        let mut rights = self.default.rights.read().clone();
        rights.require_password(password.as_bytes());
        self.default.put(rights);
    }
}

fn hash(password: &[u8]) -> PasswordHash {
    Sha256::digest(password).into()
}
