//! What a change of users means for the clients that are there already.
//!
//! A session holds its user, so what it may do changes with the user and nobody needs to be told. Two things need doing all the same: who is logged in as a
//! user that is gone must go too, and who listens to a channel that its user may not hear any more would go on hearing it, since rights are asked for when a
//! subscription begins and not for every message. Such a client is disconnected, as redis-server does, rather than unsubscribed without its knowledge.
//!
//! Nobody slips through between the two looks: a subscription is entered before the rights are looked at once more, and rights are changed before the
//! subscriptions are looked through.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::User;
use crate::client::Client;
use crate::cx::Cx;
use crate::exchange::Scope;

/// Disconnects everybody who is logged in as a user.
pub(super) fn disconnect(cx: &mut Cx<'_, '_>, user: &Arc<User>) {
    disconnect_if(cx, |theirs| Arc::ptr_eq(theirs, user));
}

/// Disconnects everybody who is logged in as a user that is no more.
pub(super) fn disconnect_unknown(cx: &mut Cx<'_, '_>) {
    let engine = cx.engine;
    let is_known = |user: &Arc<User>| {
        Arc::ptr_eq(user, engine.users.trusted())
            || engine.users.find(&user.name).is_some_and(|known| Arc::ptr_eq(user, &known))
    };
    disconnect_if(cx, |user| !is_known(user));
}

/// Disconnects everybody who listens to what they may not hear.
pub(super) fn cut_listeners(cx: &mut Cx<'_, '_>) {
    let mut cut: BTreeMap<u64, Arc<Client>> = BTreeMap::new();
    cx.engine.exchange.visit(|client, scope, name| {
        let user = Arc::clone(&client.names.lock().user);
        if !user.may_hear(name, scope == Scope::Pattern) {
            cut.insert(client.id, Arc::clone(client));
        }
    });
    cut.into_values().for_each(|client| close(cx, &client));
}

fn disconnect_if(cx: &mut Cx<'_, '_>, is_meant: impl Fn(&Arc<User>) -> bool) {
    for client in cx.engine.clients.all() {
        let user = Arc::clone(&client.names.lock().user);
        if is_meant(&user) {
            close(cx, &client);
        }
    }
}

/// Disconnects a client; the one that asks gets its answer first.
fn close(cx: &mut Cx<'_, '_>, client: &Client) {
    if client.id == cx.session.client.id {
        cx.session.closing = true;
    } else {
        client.kill();
    }
}
