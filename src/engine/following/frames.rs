//! A snapshot among the bytes of a connection: its size comes first, or a mark that ends it.

use memchr::memmem;

/// Bytes of a mark.
const MARK_BYTES: usize = 40;

enum Form {
    /// So many bytes are missing.
    Sized(u64),
    /// What has come and may be the beginning of the mark.
    Marked {
        mark: [u8; MARK_BYTES],
        held: Vec<u8>,
    },
    Done,
}

/// A snapshot that is coming.
pub(super) struct Incoming {
    form: Form,
    /// Its bytes, if that is known.
    pub(super) size: Option<u64>,
}

impl Incoming {
    /// From the line that announces it, without `$` and the line break.
    pub(super) fn announced(text: &str) -> Option<Incoming> {
        if let Some(mark) = text.strip_prefix("EOF:") {
            let mark = mark.as_bytes().try_into().ok()?;
            return Some(Incoming { form: Form::Marked { mark, held: Vec::new() }, size: None });
        }
        let size = text.parse().ok()?;
        let form = if size == 0 { Form::Done } else { Form::Sized(size) };
        Some(Incoming { form, size: Some(size) })
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.form, Form::Done)
    }

    /// Takes what has come: bytes of the snapshot go to `put`. Says how many bytes were taken; what
    /// is left belongs to what follows the snapshot.
    pub(super) fn take<E>(
        &mut self,
        bytes: &[u8],
        mut put: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        match &mut self.form {
            Form::Done => Ok(0),
            Form::Sized(missing) => {
                let count = usize::try_from(*missing).unwrap_or(usize::MAX).min(bytes.len());
                put(&bytes[..count])?;
                *missing -= count as u64;
                if *missing == 0 {
                    self.form = Form::Done;
                }
                Ok(count)
            }
            Form::Marked { mark, held } => {
                let before = held.len();
                held.extend_from_slice(bytes);
                if let Some(at) = memmem::find(held, mark) {
                    put(&held[..at])?;
                    self.form = Form::Done;
                    // The mark was not there before.
                    return Ok((at + MARK_BYTES).saturating_sub(before));
                }
                let sure = held.len().saturating_sub(MARK_BYTES - 1);
                put(&held[..sure])?;
                held.drain(..sure);
                Ok(bytes.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(header: &str, bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>, bool) {
        let mut incoming = Incoming::announced(header).unwrap();
        let (mut snapshot, mut rest) = (Vec::new(), Vec::new());
        for part in bytes.chunks(piece) {
            let taken = incoming.take(part, |bytes| {
                snapshot.extend_from_slice(bytes);
                Ok::<(), ()>(())
            });
            rest.extend_from_slice(&part[taken.unwrap()..]);
        }
        (snapshot, rest, incoming.is_done())
    }

    #[test]
    fn snapshot_ends_where_it_says_in_pieces_of_every_size() {
        let mark = "0123456789".repeat(4);
        // It begins like the mark more than once.
        let file = format!("REDIS{}{}x", &mark[..39], &mark[..25]);
        let sized = format!("{file}*1\r\n");
        let marked = format!("{file}{mark}*1\r\n");
        for piece in 1..=marked.len() {
            let want = (file.clone().into_bytes(), b"*1\r\n".to_vec(), true);
            assert_eq!(received(&file.len().to_string(), sized.as_bytes(), piece), want, "{piece}");
            assert_eq!(received(&format!("EOF:{mark}"), marked.as_bytes(), piece), want, "{piece}");
        }
        let (_, _, done) = received(&format!("EOF:{mark}"), &marked.as_bytes()[..70], 7);
        assert!(!done);
    }

    #[test]
    fn announcements_that_make_no_sense_are_refused() {
        for header in ["", "x", "-1", "EOF:short", "99999999999999999999"] {
            assert!(Incoming::announced(header).is_none(), "{header}");
        }
        assert!(Incoming::announced("0").unwrap().is_done());
    }
}
