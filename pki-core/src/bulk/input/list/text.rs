//! The text of a list: UTF-8 with a line feed at the end of each line, whatever it was written in.

use std::io::{self, Chain, Cursor, Read};

use encoding_rs_io::{DecodeReaderBytes, DecodeReaderBytesBuilder};

use super::form::ListEncoding;

/// How much is looked at to tell how a list is written. A header is shorter.
const BEGINNING: u64 = 1 << 16;

/// A reader of the text of a list.
pub(super) struct Text<R: Read> {
    inner: Chain<Cursor<Vec<u8>>, Decoder<R>>,
    /// Lines end in a carriage return alone, as on the Macs of the last century.
    has_bare_returns: bool,
}

type Decoder<R> = DecodeReaderBytes<Chain<Cursor<Vec<u8>>, R>, Vec<u8>>;

/// What the beginning of a list tells.
pub(super) struct Beginning {
    pub(super) encoding: ListEncoding,
    /// The first line that is not blank, as far as it was looked at.
    pub(super) header: Vec<u8>,
}

impl<R: Read> Text<R> {
    /// Opens a text, and looks at its beginning. A byte-order mark stands above `encoding`.
    pub(super) fn open(
        mut reader: R,
        encoding: Option<ListEncoding>,
    ) -> io::Result<(Self, Beginning)> {
        let mut mark = Vec::new();
        reader.by_ref().take(3).read_to_end(&mut mark)?;
        let encoding = ListEncoding::of_mark(&mark)
            .or(encoding)
            .unwrap_or(ListEncoding::Utf8);
        let mut decoder = DecodeReaderBytesBuilder::new()
            .encoding(encoding.decoder())
            .utf8_passthru(true)
            .strip_bom(true)
            .build(Cursor::new(mark).chain(reader));
        let mut beginning = Vec::new();
        decoder
            .by_ref()
            .take(BEGINNING)
            .read_to_end(&mut beginning)?;
        let (header, has_bare_returns) = first_line(&beginning);
        let told = Beginning {
            encoding,
            header: header.to_vec(),
        };
        let inner = Cursor::new(beginning).chain(decoder);
        let text = Self {
            inner,
            has_bare_returns,
        };
        Ok((text, told))
    }
}

/// The first line that is not blank, and whether it ends in a carriage return alone.
fn first_line(text: &[u8]) -> (&[u8], bool) {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|octet| matches!(octet, b'\r' | b'\n'));
    let (line, rest) = text.split_at(end.unwrap_or(text.len()));
    let has_bare_return = rest.starts_with(b"\r") && !rest.starts_with(b"\r\n");
    (line, has_bare_return)
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if self.has_bare_returns {
            let returns = buffer[..count].iter_mut().filter(|octet| **octet == b'\r');
            returns.for_each(|octet| *octet = b'\n');
        }
        Ok(count)
    }
}
