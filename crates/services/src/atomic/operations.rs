//! The rows of atomic operations, and their inputs and outputs. Scripts and pipelines are for programs, not for the network.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::{
    Added, Addition, AtomicGroup, Compared, Expected, Inventory, Lifetime, Micros, Reserved, Stock, Versioned,
};
use crate::Services;
use crate::error::{Error, Result};
use crate::eviction::Eviction;
use crate::keys::Tenant;
use crate::operation::{Service, inputs, operation, present};
use crate::outage::OutagePolicy;
use crate::ttl::{Ttl, TtlInput};

const NAME: &str = "atomic";

/// Atomic operations, as the outside sees them.
#[rustfmt::skip]
pub const SERVICE: Service = Service {
    name: NAME,
    doc: "Compare and set, counters with bounds, sequences, and inventories whose units are reserved, committed and given back. Every operation is one step.",
    eviction: Eviction::Never,
    outage: &[OutagePolicy::Error],
    operations: &[
        operation!(NAME, "read", Get "/atomic/{group}/registers/{name}", read: NameInput => RegisterOutput, [200, 404, 422, 503, 504],
            "Returns a value and its version.", "The version grows with each write, also when the value goes away and comes back."),
        operation!(NAME, "compare_and_set", Put "/atomic/{group}/registers/{name}", compare_and_set: CompareInput => ComparisonOutput, [200, 413, 422, 503, 504],
            "Sets a value if the one there is as expected.",
            "With `expect_version` it must have that version, with `expect_value` that value as it was written; with neither there must be none. A refusal is a result: `applied` is false, nothing has changed, and `current` is what there is. Without `ttl_ms` the lifetime stays as it is."),
        operation!(NAME, "compare_and_delete", Delete "/atomic/{group}/registers/{name}", compare_and_delete: DeleteInput => ComparisonOutput, [200, 422, 503, 504],
            "Deletes a value if it has a version.", "A refusal is a result, as with `compare_and_set`."),
        operation!(NAME, "swap", Post "/atomic/{group}/registers/{name}/swap", swap: SwapInput => SwapOutput, [200, 413, 422, 503, 504],
            "Sets a value and returns what it was.", "Without `value` it is deleted; `null` is a value. `before` is absent if there was none."),
        operation!(NAME, "read_counter", Get "/atomic/{group}/counters/{name}", read_counter: NameInput => CounterOutput, [200, 404, 422, 503, 504],
            "Returns a counter.", "An integer of 64 bits."),
        operation!(NAME, "add", Post "/atomic/{group}/counters/{name}/add", add: AddInput => AddedOutput, [200, 409, 422, 503, 504],
            "Adds to a counter within bounds.",
            "A sum beyond a bound or 64 bits is refused: `applied` is false and nothing has changed. With a `request` id the same addition is done once, and answered with `replayed` when it comes again; another addition with that id is a conflict. `ttl_ms` is the lifetime of a counter that this creates."),
        operation!(NAME, "read_money", Get "/atomic/{group}/money/{name}", read_money: NameInput => MoneyOutput, [200, 404, 422, 503, 504],
            "Returns an amount of money.", "Decimal text, exact to a millionth."),
        operation!(NAME, "add_money", Post "/atomic/{group}/money/{name}/add", add_money: AddMoneyInput => AddedMoneyOutput, [200, 409, 422, 503, 504],
            "Adds an amount of money.", "Amounts are decimal text with at most six decimals, such as `\"-0.25\"`; sums are exact. Bounds and `request` are as with `add`."),
        operation!(NAME, "take_numbers", Post "/atomic/{group}/sequences/{name}/take", take_numbers: TakeInput => NumbersOutput, [200, 409, 422, 503, 504],
            "Takes the next numbers of a sequence.", "Each number is given once. Numbers whose answer is lost are gaps, unless a `request` id is given and sent again."),
        operation!(NAME, "set_total", Put "/atomic/{group}/inventories/{name}", set_total: TotalInput => StockOutput, [200, 409, 422, 503, 504],
            "Says how many units an inventory has in all.", "Makes it if there is none. Fewer than are reserved and committed is a conflict."),
        operation!(NAME, "stock", Get "/atomic/{group}/inventories/{name}", stock: NameInput => StockOutput, [200, 404, 422, 503, 504],
            "Tells how an inventory stands.", "total = available + reserved + committed, always. Reservations that have expired are available."),
        operation!(NAME, "reserve", Post "/atomic/{group}/inventories/{name}/reserve", reserve: ReserveInput => ReservedOutput, [200, 404, 409, 422, 503, 504],
            "Reserves units for a while.",
            "All or none: if there are not as many, `granted` is false. Asking again with the same `reservation` and units gives the same reservation; one that has ended is a conflict."),
        operation!(NAME, "commit", Post "/atomic/{group}/inventories/{name}/reservations/{reservation}/commit", commit: CommitInput => StockOutput, [200, 404, 409, 422, 503, 504],
            "Commits a reservation.", "All of it, or `units` and the rest goes back. One that has expired or was released is a conflict."),
        operation!(NAME, "release", Post "/atomic/{group}/inventories/{name}/reservations/{reservation}/release", release: ReservationInput => StockOutput, [200, 404, 409, 422, 503, 504],
            "Gives a reservation back.", "One that has expired is given back already. One that was committed is a conflict."),
    ],
};

inputs! {
    each {
        /// Group of objects, which share a place.
        group: String,
        /// Name of the object.
        name: String,
    }

    /// Names an object.
    NameInput {}

    /// A value to set if another is there.
    CompareInput {
        /// The value to set; any JSON, also `null`.
        value: Json,
        /// The version that must be there.
        expect_version: Option<u64>,
        /// The value that must be there.
        #[serde(default, deserialize_with = "present")]
        expect_value: Option<Json>,
        /// Lifetime from now in milliseconds, or `"never"`; as it is if absent.
        ttl_ms: Option<TtlInput>,
    }

    /// A value to delete.
    DeleteInput {
        /// The version that must be there.
        expect_version: u64,
    }

    /// A value to set whatever is there.
    SwapInput {
        /// The value to set; any JSON, also `null`. Absent to delete.
        #[serde(default, deserialize_with = "present")]
        value: Option<Json>,
        /// Lifetime from now in milliseconds, or `"never"`; as it is if absent.
        ttl_ms: Option<TtlInput>,
    }

    /// Something to add to a counter.
    AddInput {
        /// What to add; 1 if absent.
        #[serde(default = "one")]
        amount: i64,
        /// The sum must not be below this.
        floor: Option<i64>,
        /// The sum must not be above this.
        ceiling: Option<i64>,
        /// Lifetime in milliseconds of a counter that this creates, or `"never"`; never if absent.
        ttl_ms: Option<TtlInput>,
        /// Id of the request: the same addition with it is done once.
        request: Option<String>,
    }

    /// An amount to add.
    AddMoneyInput {
        /// What to add, as decimal text.
        amount: String,
        /// The sum must not be below this.
        floor: Option<String>,
        /// The sum must not be above this.
        ceiling: Option<String>,
        /// Lifetime in milliseconds of an amount that this creates, or `"never"`; never if absent.
        ttl_ms: Option<TtlInput>,
        /// Id of the request: the same addition with it is done once.
        request: Option<String>,
    }

    /// Numbers to take.
    TakeInput {
        /// How many; 1 if absent.
        #[serde(default = "one_unit")]
        count: u64,
        /// Id of the request: the same numbers are given to it again.
        request: Option<String>,
    }

    /// The size of an inventory.
    TotalInput {
        /// Units in all.
        total: u64,
    }

    /// Units to reserve.
    ReserveInput {
        /// Id of the reservation; one is made if absent.
        reservation: Option<String>,
        /// How many; 1 if absent.
        #[serde(default = "one_unit")]
        units: u64,
        /// How long they are reserved, in milliseconds.
        ttl_ms: i64,
    }

    /// Units to commit.
    CommitInput {
        /// Id of the reservation.
        reservation: String,
        /// How many of those reserved; all if absent.
        units: Option<u64>,
    }

    /// Names a reservation.
    ReservationInput {
        /// Id of the reservation.
        reservation: String,
    }
}

macro_rules! outputs {
    ($($(#[$doc:meta])* $output:ident { $($(#[$field_doc:meta])* $field:ident : $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Serialize, JsonSchema)]
        pub(super) struct $output {
            $($(#[$field_doc])* $field: $type,)*
        }
    )*};
}

outputs! {
    /// A value and its version.
    RegisterOutput {
        /// The value.
        value: Json,
        /// Its version.
        version: u64,
    }

    /// What a comparison came to.
    ComparisonOutput {
        /// Whether it was as expected, and is changed.
        applied: bool,
        /// The new version; absent if nothing was set.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
        /// What there is instead of what was expected; absent if there is nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        current: Option<RegisterOutput>,
    }

    /// What was there before.
    SwapOutput {
        /// Absent if there was nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<RegisterOutput>,
    }

    /// A counter.
    CounterOutput {
        /// Its value.
        value: i64,
    }

    /// What adding came to.
    AddedOutput {
        /// Whether it is added, by this request or an earlier one of its id.
        applied: bool,
        /// Whether it was added before; the value is of then.
        replayed: bool,
        /// The sum, or the counter as it is if the addition was refused; null if there is none.
        value: Option<i64>,
    }

    /// An amount of money.
    MoneyOutput {
        /// Decimal text.
        amount: String,
    }

    /// What adding money came to.
    AddedMoneyOutput {
        /// Whether it is added, by this request or an earlier one of its id.
        applied: bool,
        /// Whether it was added before; the amount is of then.
        replayed: bool,
        /// The sum, or the amount as it is if the addition was refused; null if there is none.
        amount: Option<String>,
    }

    /// Consecutive numbers.
    NumbersOutput {
        /// The first.
        first: i64,
        /// The last.
        last: i64,
    }

    /// How an inventory stands.
    StockOutput {
        /// Units in all.
        total: u64,
        /// Those that can be reserved.
        available: u64,
        /// Those reserved and not committed.
        reserved: u64,
        /// Those committed.
        committed: u64,
    }

    /// What reserving came to.
    ReservedOutput {
        /// Whether the units are reserved.
        granted: bool,
        /// Id of the reservation.
        reservation: String,
        /// When the units go back, in milliseconds since 1970 by the store's clock; null if none are reserved.
        expires_at_ms: Option<u64>,
        /// How the inventory stands.
        stock: StockOutput,
    }
}

fn group(services: &Services, tenant: String, name: &str) -> Result<AtomicGroup> {
    services.atomic(&Tenant::new(tenant)?).group(name)
}

async fn read(services: Services, input: NameInput) -> Result<RegisterOutput> {
    let found = group(&services, input.tenant, &input.group)?.register(&input.name)?.read_json().await?;
    found.map(RegisterOutput::from).ok_or_else(|| Error::NotFound(format!("register {:?}", input.name)))
}

async fn compare_and_set(services: Services, input: CompareInput) -> Result<ComparisonOutput> {
    let expected = match (input.expect_version, &input.expect_value) {
        (None, None) => Expected::Absent,
        (Some(version), None) => Expected::Version(version),
        (None, Some(value)) => Expected::Bytes(value.to_string().into_bytes()),
        _ => return Err(Error::invalid("expect_version", "does not go with expect_value")),
    };
    let register = group(&services, input.tenant, &input.group)?.register(&input.name)?;
    register.compare_and_set_json(&expected, &input.value, lifetime(input.ttl_ms)?).await?.try_into()
}

async fn compare_and_delete(services: Services, input: DeleteInput) -> Result<ComparisonOutput> {
    let register = group(&services, input.tenant, &input.group)?.register(&input.name)?;
    register.compare_and_delete(&Expected::Version(input.expect_version)).await?.try_into()
}

async fn swap(services: Services, input: SwapInput) -> Result<SwapOutput> {
    let value = input.value.as_ref().map(|value| value.to_string().into_bytes());
    let register = group(&services, input.tenant, &input.group)?.register(&input.name)?;
    let before = register.swap(value.as_deref(), lifetime(input.ttl_ms)?).await?;
    Ok(SwapOutput { before: before.map(TryInto::try_into).transpose()? })
}

async fn read_counter(services: Services, input: NameInput) -> Result<CounterOutput> {
    let value = group(&services, input.tenant, &input.group)?.counter(&input.name)?.read().await?;
    value.map(|value| CounterOutput { value }).ok_or_else(|| Error::NotFound(format!("counter {:?}", input.name)))
}

async fn add(services: Services, input: AddInput) -> Result<AddedOutput> {
    let counter = group(&services, input.tenant, &input.group)?.counter(&input.name)?;
    let addition = Addition {
        floor: input.floor.unwrap_or(i64::MIN),
        ceiling: input.ceiling.unwrap_or(i64::MAX),
        ttl_on_create: input.ttl_ms.map_or(Ok(Ttl::Never), Ttl::try_from)?,
        request: input.request,
        ..Addition::of(input.amount)
    };
    let (applied, replayed, value) = outcome(counter.add(&addition).await?);
    Ok(AddedOutput { applied, replayed, value })
}

async fn read_money(services: Services, input: NameInput) -> Result<MoneyOutput> {
    let amount = group(&services, input.tenant, &input.group)?.money(&input.name)?.read().await?;
    let amount = amount.ok_or_else(|| Error::NotFound(format!("money {:?}", input.name)))?;
    Ok(MoneyOutput { amount: amount.to_string() })
}

async fn add_money(services: Services, input: AddMoneyInput) -> Result<AddedMoneyOutput> {
    let money = group(&services, input.tenant, &input.group)?.money(&input.name)?;
    let bound = |text: Option<&String>, none: i64| text.map_or(Ok(Micros(none)), |text| text.parse());
    let addition = Addition {
        amount: input.amount.parse::<Micros>()?.0,
        floor: bound(input.floor.as_ref(), i64::MIN)?.0,
        ceiling: bound(input.ceiling.as_ref(), i64::MAX)?.0,
        ttl_on_create: input.ttl_ms.map_or(Ok(Ttl::Never), Ttl::try_from)?,
        request: input.request,
    };
    let (applied, replayed, value) = outcome(money.micros().add(&addition).await?);
    Ok(AddedMoneyOutput { applied, replayed, amount: value.map(|micros| Micros(micros).to_string()) })
}

async fn take_numbers(services: Services, input: TakeInput) -> Result<NumbersOutput> {
    let sequence = group(&services, input.tenant, &input.group)?.sequence(&input.name)?;
    let numbers = sequence.take(input.count, input.request.as_deref()).await?;
    Ok(NumbersOutput { first: numbers.first, last: numbers.last })
}

async fn set_total(services: Services, input: TotalInput) -> Result<StockOutput> {
    Ok(group(&services, input.tenant, &input.group)?.inventory(&input.name)?.set_total(input.total).await?.into())
}

async fn stock(services: Services, input: NameInput) -> Result<StockOutput> {
    Ok(group(&services, input.tenant, &input.group)?.inventory(&input.name)?.stock().await?.into())
}

async fn reserve(services: Services, input: ReserveInput) -> Result<ReservedOutput> {
    let inventory: Inventory = group(&services, input.tenant, &input.group)?.inventory(&input.name)?;
    let reservation = input.reservation.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let reserved = inventory.reserve(&reservation, input.units, Ttl::ms(input.ttl_ms)?).await?;
    Ok(match reserved {
        Reserved::Granted(granted) => ReservedOutput {
            granted: true,
            reservation,
            expires_at_ms: Some(granted.expires_at_ms),
            stock: granted.stock.into(),
        },
        Reserved::Refused(stock) => {
            ReservedOutput { granted: false, reservation, expires_at_ms: None, stock: stock.into() }
        }
    })
}

async fn commit(services: Services, input: CommitInput) -> Result<StockOutput> {
    let inventory = group(&services, input.tenant, &input.group)?.inventory(&input.name)?;
    Ok(inventory.commit(&input.reservation, input.units).await?.into())
}

async fn release(services: Services, input: ReservationInput) -> Result<StockOutput> {
    Ok(group(&services, input.tenant, &input.group)?.inventory(&input.name)?.release(&input.reservation).await?.into())
}

fn lifetime(ttl: Option<TtlInput>) -> Result<Lifetime> {
    ttl.map_or(Ok(Lifetime::Keep), |ttl| Ttl::try_from(ttl).map(Lifetime::Set))
}

fn outcome(added: Added) -> (bool, bool, Option<i64>) {
    match added {
        Added::Done(sum) => (true, false, Some(sum)),
        Added::Again(sum) => (true, true, Some(sum)),
        Added::Refused(value) => (false, false, value),
    }
}

fn one() -> i64 {
    1
}

fn one_unit() -> u64 {
    1
}

impl From<Versioned<Json>> for RegisterOutput {
    fn from(found: Versioned<Json>) -> Self {
        Self { value: found.value, version: found.version }
    }
}

impl TryFrom<Versioned<Vec<u8>>> for RegisterOutput {
    type Error = Error;

    fn try_from(found: Versioned<Vec<u8>>) -> Result<Self> {
        let value = serde_json::from_slice(&found.value);
        let value = value.map_err(|error| Error::Backend(format!("the register holds no JSON: {error}")))?;
        Ok(Self { value, version: found.version })
    }
}

impl TryFrom<Compared> for ComparisonOutput {
    type Error = Error;

    fn try_from(compared: Compared) -> Result<Self> {
        Ok(match compared {
            Compared::Done(version) => Self { applied: true, version, current: None },
            Compared::Refused(current) => {
                Self { applied: false, version: None, current: current.map(TryInto::try_into).transpose()? }
            }
        })
    }
}

impl From<Stock> for StockOutput {
    fn from(stock: Stock) -> Self {
        let Stock { total, available, reserved, committed } = stock;
        Self { total, available, reserved, committed }
    }
}
