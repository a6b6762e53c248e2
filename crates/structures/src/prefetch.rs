//! Asking the processor for memory that will be needed soon.
//!
//! A lookup in a large store waits for main memory twice, and nothing else happens meanwhile. Whoever knows what is looked up next can ask for
//! it first: loads asked for together arrive together. It is a hint everywhere and nothing at all on processors this file does not know.

/// The size of a cache line, bytes.
pub(crate) const LINE: usize = 64;

/// Asks for the line an address lies in; any address will do.
#[inline(always)]
pub(crate) fn line<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch is a hint and never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
