//! Streams of server-sent events, whichever API they belong to.
//!
//! Our own reader, because the crates for it look at the whole of an unfinished line with every piece: a provider that
//! never ends its line would take a core for minutes.

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use super::{CallError, CallErrorKind};

/// The largest event of a stream, in bytes.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// Hands on the data of each event, until `take` says that it was the last. What comes after the last is not waited for.
pub(super) async fn read_events(
    body: impl Stream<Item = Result<Bytes, CallError>>,
    mut take: impl FnMut(&[u8]) -> Result<bool, CallError>,
) -> Result<(), CallError> {
    let mut events = Events::default();
    let mut ended = false;
    let mut body = std::pin::pin!(body);
    while !ended && let Some(piece) = body.next().await {
        events.read(&piece?, |event| {
            if !ended {
                ended = take(event)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Cuts a stream of server-sent events into the data of its events.
#[derive(Default)]
struct Events {
    /// The start of a line whose end is yet to come.
    line: Vec<u8>,
    /// The data of the event so far.
    data: Vec<u8>,
}

impl Events {
    /// Hands on the data of each event that ends in this piece.
    fn read(
        &mut self,
        piece: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + self.data.len() + part.len() > MAX_EVENT_BYTES {
                let message =
                    format!("an event of the stream is larger than {MAX_EVENT_BYTES} bytes");
                return Err(CallError::new(CallErrorKind::TooLarge, message));
            }
            if !part.ends_with(b"\n") {
                self.line.extend_from_slice(part);
            } else if self.line.is_empty() {
                self.end_line(part, &mut take)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.end_line(&line, &mut take)?;
                line.clear();
                self.line = line;
            }
        }
        Ok(())
    }

    /// Takes a whole line; an empty one ends the event.
    fn end_line(
        &mut self,
        line: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            if !self.data.is_empty() {
                take(&self.data)?;
                self.data.clear();
            }
        } else if let Some(data) = line.strip_prefix(b"data:") {
            // Other fields, and comments that keep the connection alive, say nothing about the answer.
            self.data.extend_from_slice(data.trim_ascii_start());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    async fn read(text: &[u8], size: usize) -> Result<Vec<String>, CallErrorKind> {
        let pieces = text
            .chunks(size)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect::<Vec<_>>();
        let mut seen = Vec::new();
        let result = read_events(stream::iter(pieces), |event| {
            seen.push(String::from_utf8_lossy(event).into_owned());
            Ok(event == b"last")
        });
        result.await.map_err(|error| error.kind).map(|()| seen)
    }

    #[tokio::test]
    async fn events_are_the_same_however_they_are_cut() {
        let text = "event: a\ndata: f\u{fc}r\n\n: still here\n\nid: 7\r\ndata:4\r\n\r\ndata: last\n\ndata: more\n\n";
        for size in [1, 2, 3, 7, 64, 4096] {
            let seen = read(text.as_bytes(), size).await.unwrap();
            assert_eq!(seen, ["f\u{fc}r", "4", "last"], "{size}");
        }
    }

    #[tokio::test]
    async fn an_event_without_end_is_given_up() {
        for size in [1024, usize::MAX] {
            let endless = "x".repeat(MAX_EVENT_BYTES + 1);
            assert_eq!(
                read(endless.as_bytes(), size).await,
                Err(CallErrorKind::TooLarge)
            );
        }
        // What has not ended is no event.
        assert_eq!(read(b"data: half", 4).await, Ok(vec![]));
    }
}
