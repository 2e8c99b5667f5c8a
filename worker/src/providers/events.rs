//! Streams of server-sent events, independent of the API.
//!
//! Our own reader, because the existing crates scan the whole unfinished line again for every piece: a provider that
//! never ends its line would occupy a core for minutes.

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use super::{CallError, CallErrorKind};

/// Maximum size of an event, in bytes.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// Some servers start a stream with it.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Passes the data of each event to `take`, until it returns true for the last one. Does not wait for data after the
/// last event.
pub(super) async fn read_events(
    body: impl Stream<Item = Result<Bytes, CallError>>,
    mut take: impl FnMut(&[u8]) -> Result<bool, CallError>,
) -> Result<(), CallError> {
    let mut events = Events::default();
    let mut ended = false;
    let mut body = std::pin::pin!(body);
    let mut take = |event: &[u8]| {
        if !ended {
            ended = take(event)?;
        }
        Ok(ended)
    };
    while let Some(piece) = body.next().await {
        if events.read(&piece?, &mut take)? {
            return Ok(());
        }
    }
    events.finish(&mut take)
}

/// Splits a stream of server-sent events into the data of its events, by the grammar of the
/// [standard](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).
#[derive(Default)]
struct Events {
    /// The start of an unfinished line.
    line: Vec<u8>,
    /// The data of the event so far.
    data: Vec<u8>,
    /// Whether the first line has ended; only that may start with a byte order mark.
    has_begun: bool,
    /// Whether the previous line ended with a carriage return: a following line feed belongs to it.
    after_return: bool,
    /// Whether the last event was taken.
    ended: bool,
}

impl Events {
    /// Passes on the data of each event that ends in this piece. Returns whether the last one was taken.
    fn read(
        &mut self,
        piece: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<bool, CallError>,
    ) -> Result<bool, CallError> {
        for part in piece.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            if self.line.len() + self.data.len() + part.len() > MAX_EVENT_BYTES {
                let message =
                    format!("an event of the stream is larger than {MAX_EVENT_BYTES} bytes");
                return Err(CallError::new(CallErrorKind::TooLarge, message));
            }
            if std::mem::take(&mut self.after_return) && part == b"\n" {
                continue;
            }
            self.after_return = part.ends_with(b"\r");
            if !part.ends_with(b"\n") && !self.after_return {
                self.line.extend_from_slice(part);
            } else if self.line.is_empty() {
                self.end_line(part, take)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.end_line(&line, take)?;
                line.clear();
                self.line = line;
            }
        }
        Ok(self.ended)
    }

    /// Handles the end of the stream. An event that lacks only its empty line is complete; anything else was cut off.
    fn finish(
        &mut self,
        take: &mut impl FnMut(&[u8]) -> Result<bool, CallError>,
    ) -> Result<(), CallError> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_line(&line, take)?;
        }
        let is_whole = |data: &[u8]| {
            data == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
        };
        if is_whole(&self.data) {
            self.end_event(take)?;
        }
        Ok(())
    }

    /// Handles a complete line; an empty one ends the event.
    fn end_line(
        &mut self,
        line: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<bool, CallError>,
    ) -> Result<(), CallError> {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let line = line
            .strip_prefix(BYTE_ORDER_MARK)
            .filter(|_| is_first)
            .unwrap_or(line)
            .trim_ascii_end();
        if line.is_empty() {
            self.end_event(take)?;
        } else if let Some(data) = line.strip_prefix(b"data:") {
            // Other fields, and comments that keep the connection alive, are ignored.
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.trim_ascii_start());
        }
        Ok(())
    }

    fn end_event(
        &mut self,
        take: &mut impl FnMut(&[u8]) -> Result<bool, CallError>,
    ) -> Result<(), CallError> {
        if !self.data.is_empty() {
            self.ended = take(&self.data)?;
            self.data.clear();
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
        // An unfinished event is ignored, unless its data is complete.
        assert_eq!(read(b"data: half", 4).await, Ok(vec![]));
        assert_eq!(read(b"data: {\"a\": 4", 4).await, Ok(vec![]));
        for whole in ["{\"a\": 4}", "[DONE]"] {
            let text = format!("data: {whole}");
            assert_eq!(read(text.as_bytes(), 4).await, Ok(vec![whole.to_owned()]));
        }
    }

    #[tokio::test]
    async fn lines_end_as_the_standard_says() {
        for end in ["\n", "\r", "\r\n"] {
            let lines = [
                "\u{feff}data: 1",
                "",
                "data: {",
                "data: \"b\": 2}",
                "",
                "\u{feff}data: no",
                "",
                "data: last",
                "",
            ];
            let text: String = lines.iter().flat_map(|line| [*line, end]).collect();
            for size in [1, 2, 3, 4096] {
                let seen = read(text.as_bytes(), size).await.unwrap();
                assert_eq!(seen, ["1", "{\n\"b\": 2}", "last"], "{end:?} {size}");
            }
        }
    }
}
