//! A stack of its own for work that may take long: a script.
//!
//! A script that is over its time steps aside from time to time, and the thread serves its other
//! clients meanwhile (they hear BUSY, or end the script). The work keeps everything it has on its
//! own stack, locks included; it goes on where it was when the fiber is resumed.
#![allow(unsafe_code)] // One block: the way back to the thread's own stack.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::ptr;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::engine::command::Row;
use crate::engine::session::Session;
use crate::spec::category::Group;
use crate::spec::flags::Flags;

/// Room of a fiber's stack. Only what was touched takes memory. Lua nests C calls 200 deep at the
/// most, each with a buffer of 8 KiB.
const STACK_BYTES: usize = 4 * 1024 * 1024;

thread_local! {
    /// Where the running fiber goes when it steps aside; null outside of one.
    static WAY_BACK: Cell<*const Yielder<(), ()>> = const { Cell::new(ptr::null()) };
    /// The stack of the last fiber that ended.
    static SPARE: RefCell<Option<DefaultStack>> = const { RefCell::new(None) };
}

/// Work that has stepped aside, or has not begun.
pub struct Fiber<R: 'static> {
    /// Not dropped before its end: Lua's frames cannot be unwound, and the locks it holds stay.
    coroutine: ManuallyDrop<Coroutine<(), (), R>>,
}

/// How far a fiber came.
pub enum Step<R: 'static> {
    /// To its end.
    Done(R),
    /// It wants to be resumed.
    Aside(Fiber<R>),
}

impl<R: 'static> Fiber<R> {
    /// A fiber for `work`; `None` when the system has no room for its stack.
    pub fn new(work: impl FnOnce() -> R + 'static) -> Option<Fiber<R>> {
        let spare = SPARE.with_borrow_mut(Option::take);
        let stack = match spare {
            Some(stack) => stack,
            None => DefaultStack::new(STACK_BYTES).ok()?,
        };
        let coroutine = Coroutine::with_stack(stack, move |way_back: &Yielder<(), ()>, ()| {
            WAY_BACK.set(way_back);
            let result = work();
            WAY_BACK.set(ptr::null());
            result
        });
        Some(Fiber { coroutine: ManuallyDrop::new(coroutine) })
    }

    /// Runs until the end, or until the work steps aside.
    pub fn resume(mut self) -> Step<R> {
        match self.coroutine.resume(()) {
            CoroutineResult::Yield(()) => Step::Aside(self),
            CoroutineResult::Return(result) => {
                let stack = ManuallyDrop::into_inner(self.coroutine).into_stack();
                SPARE.with_borrow_mut(|spare| *spare = Some(stack));
                Step::Done(result)
            }
        }
    }
}

/// Lets the thread do something else for a moment. Outside of a fiber nothing happens.
pub fn step_aside() {
    let way_back = WAY_BACK.replace(ptr::null());
    if way_back.is_null() {
        return;
    }
    // SAFETY: the pointer is set by the fiber that runs now, and reset whenever it does not run; the
    // yielder lives on the fiber's stack as long as its work.
    unsafe { (*way_back).suspend(()) };
    WAY_BACK.set(way_back);
}

/// Whether a command runs a script.
pub fn runs_script(row: &Row) -> bool {
    row.spec().group == Group::Scripting && row.spec().flags.has(Flags::SKIP_MONITOR)
}

/// Whether a command may step aside, so that it needs a fiber.
pub fn is_for(row: &Row, session: &Session) -> bool {
    match &session.multi {
        None => runs_script(row) || row.spec().name == "migrate",
        Some(multi) => {
            row.spec().name == "exec" && multi.queue.iter().any(|(row, _)| runs_script(row))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_where_it_stepped_aside() {
        step_aside();
        let mut fiber = Fiber::new(|| {
            let mut sum = 0;
            for number in 0..4 {
                sum += number;
                step_aside();
            }
            sum
        });
        let mut rounds = 0;
        let result = loop {
            match fiber.take().map(Fiber::resume) {
                Some(Step::Aside(next)) => fiber = Some(next),
                Some(Step::Done(result)) => break result,
                None => unreachable!("there was room for a stack"),
            }
            rounds += 1;
        };
        assert_eq!((result, rounds), (6, 4));
    }
}
