//! One run of Lua code: a script, a function, or a library being loaded.
//!
//! The host is lent to Lua for the duration of the run only, through functions created for it; keys and arguments become tables; the memory limit holds
//! while the code runs and is lifted before and after. What comes back is either the value the code returned, handed to the caller while the state is still
//! in scope, or the [`Failure`] that escaped from it. Which code runs, and under what name errors are reported, is the caller's business.

use std::cell::RefCell;

use mlua::{Function, MultiValue, Value};

use crate::api::Caller;
use crate::convert::{ReplyWriter, text};
use crate::engine::Invocation;
use crate::errors::Failure;
use crate::host::Host;
use crate::limits::Unlimited;
use crate::sandbox::Sandbox;

/// What is to run.
pub(crate) struct Run<'a> {
    pub(crate) sandbox: &'a Sandbox,
    /// The way in: one of the functions of prelude.lua.
    pub(crate) enter: &'a Function,
    pub(crate) slot: u32,
}

impl Run<'_> {
    /// Runs the code and appends the reply that its value stands for.
    pub(crate) fn reply(
        &self,
        invocation: &Invocation<'_>,
        host: &mut dyn Host,
        buffer: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let Sandbox { lua, shared, names, memory_limit, .. } = self.sandbox;
        self.value(invocation, host, buffer, |value, elements| {
            let (client, script) = (invocation.protocol, shared.protocol());
            let writer = ReplyWriter { names, client, script, max_bytes: *memory_limit, shared, lua };
            match value {
                Value::Nil if !elements.is_empty() => writer.write_array(elements, reply),
                value => writer.write(value, reply),
            }
        })
    }

    /// Runs the code and hands over its value, or nil and the elements of a short array (see `enter` of prelude.lua).
    pub(crate) fn value<R>(
        &self,
        invocation: &Invocation<'_>,
        host: &mut dyn Host,
        buffer: &mut Vec<u8>,
        finish: impl FnOnce(&Value, &MultiValue) -> mlua::Result<R>,
    ) -> Result<R, Failure> {
        let Sandbox { lua, shared, names, protected, memory_limit, .. } = self.sandbox;
        let caller =
            Caller { shared, names, protected, host: RefCell::new(host), reply: RefCell::new(std::mem::take(buffer)) };
        let result = lua.scope(|scope| {
            let unlimited = Unlimited::enter(lua, shared);
            let call = scope.create_function(|lua, values: MultiValue| caller.invoke(lua, values))?;
            let bytes: usize = invocation.keys.iter().chain(invocation.args).map(|text| text.len() + 64).sum();
            unlimited.check(bytes)?;
            let keys = lua.create_sequence_from(invocation.keys.iter().map(|key| text(key)))?;
            let args = lua.create_sequence_from(invocation.args.iter().map(|arg| text(arg)))?;
            shared.begin(call.clone());
            lua.set_memory_limit(*memory_limit)?;
            let entered = self.enter.call::<(bool, Value, MultiValue)>((self.slot, call, keys, args));
            lua.set_memory_limit(0)?;
            let (returned, value, elements) = entered?;
            if returned {
                return Ok(Ok(finish(&value, &elements)?));
            }
            // Running out of memory is not shown to the handler; Lua passes its text on as the value.
            Ok(Err(Failure::from_value(lua, &value)))
        });
        *buffer = caller.reply.take();
        let recorded = shared.end();
        self.sandbox.reset_libraries();
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(unseen)) => Err(recorded.unwrap_or(unseen)),
            Err(error) => Err(recorded.unwrap_or_else(|| Failure::from_error(&error, None))),
        }
    }
}
