//! Reading without waiting, inside a poll.
#![allow(unsafe_code)] // Reading into the uninitialized end of a buffer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Reads once into the room behind `buffer`'s bytes; 0 at the end of the stream.
pub fn poll_read(
    socket: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    debug_assert!(buffer.capacity() > buffer.len());
    let mut read = ReadBuf::uninit(buffer.spare_capacity_mut());
    ready!(Pin::new(socket).poll_read(context, &mut read))?;
    let count = read.filled().len();
    let len = buffer.len() + count;
    // SAFETY: `filled` bytes behind the old length were initialized by the read.
    unsafe { buffer.set_len(len) };
    Poll::Ready(Ok(count))
}
