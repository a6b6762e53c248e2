//! Replies that several families write: elements as the collections hold them.

use redpoll_resp::Writer;
use redpoll_structures::packed::Item;

/// Writes an element as a bulk string.
#[inline]
pub(crate) fn item(out: &mut Writer, item: Item<'_>) {
    match item {
        Item::Int(number) => out.bulk_int(number),
        Item::Str(text) => out.bulk(text),
    }
}

/// Writes an element, or null.
#[inline]
pub(crate) fn item_or_null(out: &mut Writer, found: Option<Item<'_>>) {
    match found {
        Some(found) => item(out, found),
        None => out.null(),
    }
}
