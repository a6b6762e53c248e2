//! Leasing by callers that may go away: what a step leased to nobody is handed back, and nobody stays registered as waiting who does not wait.
//!
//! A call that leases may be dropped while the store is at it, or between its answer and the moment its caller would have had it. So the step runs as a task of its own,
//! to its end, and its answer hands itself back unless it is taken. Who waits is registered in the store under a name, and takes it out when dropped.

use std::time::Duration;

use redpoll_resp::Value;
use uuid::Uuid;

use crate::Services;
use crate::backend::Command;
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::signal::{RECHECK_MAX, Waiter};

/// How long a name stays registered after its last look.
pub(crate) const REGISTERED: Duration = Duration::from_secs(1).saturating_add(RECHECK_MAX);

/// What things are leased from.
pub(crate) trait Lessor: Clone + Send + Sync + 'static {
    fn services(&self) -> &Services;

    /// The channel of those who wait.
    fn channel(&self) -> &Key;

    /// Runs a step.
    fn run(&self, command: Command) -> impl Future<Output = Result<Value>> + Send;

    /// Takes back what a step has done that nobody heard of: what it leased, and the registration of the name, if there is one.
    fn hand_back(&self, name: &str, reply: &Value) -> impl Future<Output = Result<()>> + Send;

    /// Takes a name out of those that wait.
    fn leave(&self, name: &str) -> impl Future<Output = Result<()>> + Send;
}

/// Runs a step that leases, to its end even if nobody waits for it any more: then what it leased is handed back.
pub(crate) async fn hear<L: Lessor>(lessor: &L, command: Command, name: String) -> Result<Value> {
    let lessor = lessor.clone();
    let step = tokio::spawn(async move {
        let reply = lessor.run(command).await;
        Unheard { lessor, name, reply: Some(reply) }
    });
    match step.await {
        Ok(mut unheard) => unheard.reply.take().expect("only this takes it"),
        Err(error) => Err(Error::Unavailable(format!("the runtime is ending: {error}"))),
    }
}

/// The answer of a step that leases. Dropping it untaken hands back what it leased.
struct Unheard<L: Lessor> {
    lessor: L,
    name: String,
    reply: Option<Result<Value>>,
}

impl<L: Lessor> Drop for Unheard<L> {
    fn drop(&mut self) {
        // Outside a runtime nothing can be sent; the leases end by themselves.
        if let Some(Ok(reply)) = self.reply.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (lessor, name) = (self.lessor.clone(), std::mem::take(&mut self.name));
            runtime.spawn(async move { lessor.hand_back(&name, &reply).await });
        }
    }
}

/// Somebody who waits. Dropping it unless it is over takes the name out of the store.
pub(crate) struct Waiting<'a, L: Lessor> {
    lessor: &'a L,
    pub(crate) name: String,
    pub(crate) waiter: Waiter,
    pub(crate) is_over: bool,
}

impl<'a, L: Lessor> Waiting<'a, L> {
    /// Listens, before the look that it must not miss anything after.
    pub(crate) fn begin(lessor: &'a L) -> Self {
        let name = Uuid::new_v4().simple().to_string();
        let waiter = lessor.services().signals().listen(lessor.channel(), &name);
        Self { lessor, name, waiter, is_over: false }
    }
}

impl<L: Lessor> Drop for Waiting<'_, L> {
    fn drop(&mut self) {
        // Outside a runtime nothing can be sent; the name ends by itself.
        if !self.is_over
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (lessor, name) = (self.lessor.clone(), std::mem::take(&mut self.name));
            runtime.spawn(async move { lessor.leave(&name).await });
        }
    }
}
