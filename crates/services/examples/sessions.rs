//! A visit, a login, requests at once, and signing out everywhere.
//!
//! `cargo run -p redpoll-services --example sessions` works on a store of its own,
//! `cargo run -p redpoll-services --example sessions -- redis://127.0.0.1:6379` on that one.

use redpoll_services::sessions::{Lookup, NewSession, Origin, Update};
use redpoll_services::{Backend, Error, Result, Services, Settings, Tenant};
use serde_json::{Value as Json, json};

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    let sessions = services.sessions(&Tenant::new("example")?);
    sessions.revoke_user("ann", None).await?;

    let visit = sessions.create(&NewSession::anonymous().with("cart", json!(["tea"]))).await?;
    println!("a visitor gets the cookie {}", visit.id);
    let login = sessions.login(&visit.id, &NewSession::of("ann")).await?;
    println!("ann logs in and gets {}", login.id);
    let before = sessions.load(&visit.id, &Origin::default()).await?;
    println!("the cookie from before is worth nothing: {before:?}");

    // Two requests change different things at once; neither undoes the other.
    let id = &login.id;
    let (theme, cart) = (Update::new().set("theme", "dark"), Update::new().set("cart", json!(["tea", "cup"])));
    let (one, other) = tokio::join!(sessions.update(id, &theme), sessions.update(id, &cart));
    println!("two requests at once make versions {} and {}", one?, other?);
    for number in 1..=25 {
        sessions.append(id, &[json!({"n": number})], None).await?;
    }
    let messages = sessions.messages(id).await?;
    println!("of 25 messages the last {} are kept, the first of them {}", messages.len(), messages[0]);
    if let Lookup::Found(session) = sessions.load(id, &Origin::default()).await? {
        let (theme, cart) = (session.value::<String>("theme")?, session.value::<Json>("cart")?);
        println!("the session has theme {theme:?} and cart {cart:?}");
        let stale = Update::new().set_if("theme", "light", session.version_of("theme") - 1);
        println!("compare and set with an old version: {:?}", sessions.update(id, &stale).await);
    }

    let (left, right) = tokio::join!(sessions.rotate(id, None), sessions.rotate(id, None));
    let next = left?;
    println!("two rotations at once give one new id: {}", next == right?);
    sessions.create(&NewSession::of("ann")).await?;
    println!("ann has {} sessions", sessions.list_user("ann").await?.len());
    println!("signing out everywhere ends {}", sessions.revoke_user("ann", None).await?);
    match sessions.update(&next, &Update::new().set("late", true)).await {
        Err(Error::NotFound(_)) => println!("a save that comes late finds nothing, and brings nothing back"),
        other => println!("unexpected: {other:?}"),
    }
    Ok(())
}
