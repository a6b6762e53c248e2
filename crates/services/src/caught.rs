//! Futures of our users, whose panics are answers and not our end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::operation::BoxFuture;

/// The text of a panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panicked(pub(crate) String);

/// A future that is polled where its caller is. Whether it panics while it is made or while it goes on is told; what it does while it is dropped has been shown
/// by the panic hook, and changes nothing.
pub(crate) struct Caught<T> {
    /// None when it has answered.
    making: Option<Result<BoxFuture<'static, T>, Panicked>>,
}

impl<T> Caught<T> {
    pub(crate) fn new(make: impl FnOnce() -> BoxFuture<'static, T>) -> Self {
        Self { making: Some(caught(make)) }
    }

    fn end(&mut self) {
        let making = self.making.take();
        let _ = caught(|| drop(making));
    }
}

impl<T> Future for Caught<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.making {
            Some(Ok(future)) => match caught(|| future.as_mut().poll(context)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(answer)) => Ok(answer),
                Err(panicked) => Err(panicked),
            },
            Some(Err(panicked)) => Err(panicked.clone()),
            None => return Poll::Pending,
        };
        self.end();
        Poll::Ready(answer)
    }
}

impl<T> Drop for Caught<T> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Does something, and returns the text of its panic if it panics.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Panicked::of(&*panic))
}

impl Panicked {
    pub(crate) fn of(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text");
        Self(format!("panicked: {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at once or never, and panics when it is dropped.
    struct Fragile(Poll<u8>);

    impl Future for Fragile {
        type Output = u8;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u8> {
            self.0
        }
    }

    impl Drop for Fragile {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    fn said(text: &str) -> Panicked {
        Panicked(format!("panicked: {text}"))
    }

    #[tokio::test]
    async fn panics_are_answers() {
        assert_eq!(Caught::new(|| Box::pin(async { 1 })).await, Ok(1));
        assert_eq!(Caught::<u8>::new(|| panic!("not {}", "made")).await, Err(said("not made")));
        assert_eq!(Caught::<u8>::new(|| Box::pin(async { panic!("late") })).await, Err(said("late")));
        let other = Caught::<u8>::new(|| Box::pin(async { std::panic::panic_any(7) }));
        assert_eq!(other.await, Err(said("without a text")));
    }

    #[tokio::test]
    async fn what_panics_while_it_is_dropped_has_answered_all_the_same() {
        assert_eq!(Caught::new(|| Box::pin(Fragile(Poll::Ready(1)))).await, Ok(1));
        drop(Caught::new(|| Box::pin(Fragile(Poll::Pending))));
    }
}
