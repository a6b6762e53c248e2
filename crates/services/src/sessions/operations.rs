//! The rows of sessions, and their inputs and outputs.
//!
//! An id is a secret, so it stands in bodies and never in a path, which is logged.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value as Json;

use super::shapes::{
    AppendInput, Count, CreateInput, CreatedOutput, Destroyed, End, ExtendInput, FieldOutput, HandleInput, IdInput,
    IdOutput, Length, ListWorkspaceInput, LoadInput, Loaded, LoginInput, Messages, Outcome, RotateInput, SessionList,
    SessionOutput, SessionPage, TouchInput, TouchedOutput, UpdateInput, UserInput, Version, WorkspaceInput,
};
use super::{Binding, Change, Field, Lookup, NewSession, Origin, Page, Session, Sessions, Touched, Update};
use crate::Services;
use crate::error::{Error, Result};
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, operation};
use crate::outage::OutagePolicy;
use crate::ttl::{Ttl, TtlInput};

const NAME: &str = "sessions";

/// Sessions, as the outside sees them.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Who a client is, and what is remembered of it between requests: fields with versions, messages, sliding and absolute expiry, a cap per user, sign-out everywhere. Ids are made here and never stand in a path.",
    eviction: Eviction::Kept,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "create", Post "/sessions/create", create: CreateInput => CreatedOutput, [200, 409, 413, 422, 503, 504],
            "Creates a session.",
            "The id is made by the store's side and cannot be chosen. A user that has as many sessions as allowed loses the oldest in the same step; `evicted` says how many."),
        operation!(NAME, "load", Post "/sessions/load", load: LoadInput => Loaded, [200, 422, 503, 504],
            "Loads a session.",
            "The outcome is `found`, `missing`, or `mismatch` for a session that is bound to another address or user agent. Changes nothing, the end of the session included. An outage is an error: who cannot be recognised is not let in."),
        operation!(NAME, "update", Post "/sessions/update", update: UpdateInput => Version, [200, 404, 409, 413, 422, 503, 504],
            "Changes fields, all of the changes or none.",
            "Fields that are not named stay as they are. `version` and `field_versions` make it a compare-and-set: 409 if the session, or a field, has another version; 0 is the version of a field that is not there. A session that has ended is 404 and stays so."),
        operation!(NAME, "append", Post "/sessions/append", append: AppendInput => Length, [200, 404, 413, 422, 503, 504],
            "Appends messages and keeps the last ones.", "Gives how many there are now."),
        operation!(NAME, "messages", Post "/sessions/messages", messages: IdInput => Messages, [200, 404, 422, 503, 504],
            "Reads the messages, oldest first.", "Changes nothing."),
        operation!(NAME, "touch", Post "/sessions/touch", touch: TouchInput => TouchedOutput, [200, 404, 422, 503, 504],
            "Moves the end of a session to its idle time from now.",
            "At most once per interval, and never beyond the absolute end. Data is not rewritten."),
        operation!(NAME, "extend", Post "/sessions/extend", extend: ExtendInput => End, [200, 404, 422, 503, 504],
            "Gives a session a lifetime from now.", "Never beyond the absolute end."),
        operation!(NAME, "rotate", Post "/sessions/rotate", rotate: RotateInput => IdOutput, [200, 404, 409, 422, 503, 504],
            "Replaces the id of a session.",
            "The old id is accepted for the period of grace; rotations at once all give the same new id. For a login use `login`, after which the old id is worth nothing."),
        operation!(NAME, "login", Post "/sessions/login", login: LoginInput => CreatedOutput, [200, 404, 409, 413, 422, 503, 504],
            "Makes a user's session from the one before.",
            "Fields and messages are taken over, fields given here win. The old session ends. Of logins at once with one id one succeeds."),
        operation!(NAME, "destroy", Post "/sessions/destroy", destroy: IdInput => Destroyed, [200, 422, 503, 504],
            "Ends a session: the logout.", "Tells whether there was one. What comes later with this id finds no session."),
        operation!(NAME, "list_user", Get "/sessions/users/{user}", list_user: UserInput => SessionList, [200, 422, 503, 504],
            "Lists a user's sessions, oldest first.", "Without their fields, and with handles instead of ids."),
        operation!(NAME, "count_user", Get "/sessions/users/{user}/count", count_user: UserInput => Count, [200, 409, 422, 503, 504],
            "Counts a user's sessions.", "Expired ones do not count."),
        operation!(NAME, "revoke_user", Delete "/sessions/users/{user}", revoke_user: UserInput => Count, [200, 422, 503, 504],
            "Ends all sessions of a user: sign-out everywhere.", "In one step. Gives how many there were."),
        operation!(NAME, "list_workspace", Get "/sessions/workspaces/{workspace}", list_workspace: ListWorkspaceInput => SessionPage, [200, 422, 503, 504],
            "Lists a workspace's sessions.", "In pages: `next` is the `after` of the following page, null after the last."),
        operation!(NAME, "count_workspace", Get "/sessions/workspaces/{workspace}/count", count_workspace: WorkspaceInput => Count, [200, 409, 422, 503, 504],
            "Counts a workspace's sessions.", "Expired ones do not count."),
        operation!(NAME, "revoke_workspace", Delete "/sessions/workspaces/{workspace}", revoke_workspace: WorkspaceInput => Count, [200, 422, 503, 504],
            "Ends all sessions of a workspace.", "Those that there are when it begins. Gives how many there were."),
        operation!(NAME, "revoke", Delete "/sessions/handles/{handle}", revoke: HandleInput => Destroyed, [200, 404, 422, 503, 504],
            "Ends the session that a handle names.", "Tells whether there was one. What is no handle is 404."),
    ],
};

async fn create(services: Services, input: CreateInput) -> Result<CreatedOutput> {
    let CreateInput { tenant, user, workspace, ip, agent, binding, idle_ms, absolute_ms, fields } = input;
    let new = new_session(user, workspace, ip, agent, binding, (idle_ms, absolute_ms), fields)?;
    open(&services, tenant)?.create(&new).await.map(CreatedOutput::from)
}

async fn login(services: Services, input: LoginInput) -> Result<CreatedOutput> {
    let LoginInput { tenant, id, user, workspace, ip, agent, binding, idle_ms, absolute_ms, fields } = input;
    let new = new_session(user, workspace, ip, agent, binding, (idle_ms, absolute_ms), fields)?;
    open(&services, tenant)?.login(&id.parse()?, &new).await.map(CreatedOutput::from)
}

async fn load(services: Services, input: LoadInput) -> Result<Loaded> {
    let sessions = open(&services, input.tenant)?;
    let origin = Origin { ip: address(input.ip)?, agent: input.agent };
    let lookup = match input.id.parse() {
        Ok(id) => sessions.load(&id, &origin).await?,
        Err(_) => Lookup::Missing,
    };
    Ok(match lookup {
        Lookup::Found(session) => {
            let fields = read_fields(&session)?;
            let session = SessionOutput { fields: Some(fields), ..SessionOutput::from(*session) };
            Loaded { outcome: Outcome::Found, session: Some(session), differs: None }
        }
        Lookup::Missing => Loaded { outcome: Outcome::Missing, session: None, differs: None },
        Lookup::Mismatch(differs) => Loaded { outcome: Outcome::Mismatch, session: None, differs: Some(differs) },
    })
}

async fn update(services: Services, mut input: UpdateInput) -> Result<Version> {
    let set = input.set.into_iter().map(|(name, value)| (name, Some(value)));
    let remove = input.remove.into_iter().map(|name| (name, None));
    let mut update = Update { version: input.version, ..Update::default() };
    update.lifetime = input.lifetime_ms.map(Ttl::try_from).transpose()?;
    for (name, value) in set.chain(remove) {
        let version = input.field_versions.remove(&name);
        update.changes.push(Change { name, value, version });
    }
    if let Some(name) = input.field_versions.keys().next() {
        return Err(Error::invalid("field_versions", format_args!("{name:?} is not changed")));
    }
    let version = open(&services, input.tenant)?.update(&input.id.parse()?, &update).await?;
    Ok(Version { version })
}

async fn append(services: Services, input: AppendInput) -> Result<Length> {
    let messages: Vec<Json> = input.messages.into_iter().chain(input.message).collect();
    let length = open(&services, input.tenant)?.append(&input.id.parse()?, &messages, input.keep).await?;
    Ok(Length { length })
}

async fn messages(services: Services, input: IdInput) -> Result<Messages> {
    Ok(Messages { messages: open(&services, input.tenant)?.messages(&input.id.parse()?).await? })
}

async fn touch(services: Services, input: TouchInput) -> Result<TouchedOutput> {
    let interval = input.interval_ms.map(Duration::from_millis);
    let Touched { moved, expires_ms } = open(&services, input.tenant)?.touch(&input.id.parse()?, interval).await?;
    Ok(TouchedOutput { moved, expires_ms })
}

async fn extend(services: Services, input: ExtendInput) -> Result<End> {
    let lifetime = Ttl::try_from(input.lifetime_ms)?;
    Ok(End { expires_ms: open(&services, input.tenant)?.extend(&input.id.parse()?, lifetime).await? })
}

async fn rotate(services: Services, input: RotateInput) -> Result<IdOutput> {
    let grace = input.grace_ms.map(Duration::from_millis);
    let id = open(&services, input.tenant)?.rotate(&input.id.parse()?, grace).await?;
    Ok(IdOutput { id: id.to_string() })
}

async fn destroy(services: Services, input: IdInput) -> Result<Destroyed> {
    let sessions = open(&services, input.tenant)?;
    let destroyed = match input.id.parse() {
        Ok(id) => sessions.destroy(&id).await?,
        Err(_) => false,
    };
    Ok(Destroyed { destroyed })
}

async fn list_user(services: Services, input: UserInput) -> Result<SessionList> {
    let sessions = open(&services, input.tenant)?.list_user(&input.user).await?;
    Ok(SessionList { sessions: sessions.into_iter().map(SessionOutput::from).collect() })
}

async fn count_user(services: Services, input: UserInput) -> Result<Count> {
    Ok(Count { count: open(&services, input.tenant)?.count_user(&input.user).await? })
}

async fn revoke_user(services: Services, input: UserInput) -> Result<Count> {
    Ok(Count { count: open(&services, input.tenant)?.revoke_user(&input.user, None).await? })
}

async fn list_workspace(services: Services, input: ListWorkspaceInput) -> Result<SessionPage> {
    let sessions = open(&services, input.tenant)?;
    let Page { sessions, next } =
        sessions.list_workspace(&input.workspace, input.after.as_deref(), input.limit).await?;
    Ok(SessionPage { sessions: sessions.into_iter().map(SessionOutput::from).collect(), next })
}

async fn count_workspace(services: Services, input: WorkspaceInput) -> Result<Count> {
    Ok(Count { count: open(&services, input.tenant)?.count_workspace(&input.workspace).await? })
}

async fn revoke_workspace(services: Services, input: WorkspaceInput) -> Result<Count> {
    Ok(Count { count: open(&services, input.tenant)?.revoke_workspace(&input.workspace).await? })
}

async fn revoke(services: Services, input: HandleInput) -> Result<Destroyed> {
    Ok(Destroyed { destroyed: open(&services, input.tenant)?.revoke(input.handle.parse()?).await? })
}

fn open(services: &Services, tenant: String) -> Result<Sessions> {
    Ok(services.sessions(&Tenant::new(tenant)?))
}

fn new_session(
    user: Option<String>,
    workspace: Option<String>,
    ip: Option<String>,
    agent: Option<String>,
    binding: Binding,
    (idle, absolute): (Option<TtlInput>, Option<TtlInput>),
    fields: BTreeMap<String, Json>,
) -> Result<NewSession> {
    Ok(NewSession {
        user,
        workspace,
        ip: address(ip)?,
        agent,
        binding,
        idle: idle.map(Ttl::try_from).transpose()?,
        absolute: absolute.map(Ttl::try_from).transpose()?,
        fields: fields.into_iter().collect(),
    })
}

fn address(text: Option<String>) -> Result<Option<IpAddr>> {
    text.map(|text| text.parse().map_err(|error| Error::invalid("ip", error))).transpose()
}

fn read_fields(session: &Session) -> Result<BTreeMap<String, FieldOutput>> {
    let read = |(name, field): (&String, &Field)| {
        Ok((name.clone(), FieldOutput { value: field.value()?, version: field.version }))
    };
    session.fields.iter().map(read).collect()
}
