//! An archive of all devices' files, as GNU tar writes it.
//!
//! Headers say nothing but name, size, mode and a time that comes from the certificate, so that the
//! same files make the same archive. Every file takes whole records: an archive that was cut short is
//! truncated to the end of a device and goes on from there; its ending is written last.

use ::tar::{EntryType, Header};

use super::entry::{Access, Entry};
use super::render::Device;
use super::rendered::Piece;
use crate::time::Time;

/// Everything in an archive is a multiple of this long.
const RECORD: usize = 512;

/// The end of an archive: two records of zeros.
pub(super) const ENDING: [u8; 2 * RECORD] = [0; 2 * RECORD];

/// Appends the records of a device's files, dated to the beginning of its certificate.
pub(super) fn push_records(entries: &[Entry], device: &Device<'_>, archive: &mut Piece) {
    let modified = device.issued.certificate().validity().not_before();
    for entry in entries {
        // Room for a long name, too.
        let room = 3 * RECORD + padded(entry.path.len()) + padded(entry.content.len());
        archive.push(room, |archive| {
            push_header(entry, modified, archive);
            let start = archive.len();
            push_padded(&entry.content, archive);
            match entry.access {
                Access::Secret => start..archive.len(),
                Access::Public => 0..0,
            }
        });
    }
}

fn push_header(entry: &Entry, modified: Time, archive: &mut Vec<u8>) {
    let size = entry.content.len();
    let mut header = header(EntryType::Regular, size, entry.access);
    header.set_mtime(u64::try_from(modified.unix_seconds()).unwrap_or_default());
    if header.set_path(&entry.path).is_err() {
        push_long_name(&entry.path, archive);
        let name = &mut header.as_old_mut().name;
        let length = name.len();
        name.copy_from_slice(&entry.path.as_bytes()[..length]);
    }
    header.set_cksum();
    archive.extend_from_slice(header.as_bytes());
}

/// A name of more than 100 characters goes before its file as an entry of its own, ended by a zero;
/// IDs of many colons have such names.
fn push_long_name(path: &str, archive: &mut Vec<u8>) {
    const NAME: &[u8] = b"././@LongLink";
    let mut header = header(EntryType::GNULongName, path.len() + 1, Access::Public);
    header.as_old_mut().name[..NAME.len()].copy_from_slice(NAME);
    header.set_mtime(0);
    header.set_cksum();
    archive.extend_from_slice(header.as_bytes());
    push_padded(&[path.as_bytes(), &[0]].concat(), archive);
}

fn header(kind: EntryType, size: usize, access: Access) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(u64::try_from(size).unwrap_or(u64::MAX));
    header.set_mode(access.mode());
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn push_padded(content: &[u8], archive: &mut Vec<u8>) {
    let end = archive.len() + padded(content.len());
    archive.extend_from_slice(content);
    archive.resize(end, 0);
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(RECORD)
}
