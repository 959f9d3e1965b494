//! Requests of devices that made their own keys: in files, folders, streams and lists.
//!
//! All of an input is judged, on all cores, before the first request is signed. Which requests are
//! signed, and for whom, is said by [`pki_core::csr::RequestPolicy`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use pki_core::bulk::input::{BadLine, Device, DeviceKey, Place, unknown_profile};
use pki_core::bulk::requests::{Judged, judge_all};
use pki_core::csr::{self, IdFrom, RequestPolicy, Stated};
use pki_core::declaration::Declaration;
use pki_core::handout::digest::{HashingWriter, OutputHash};
use pki_core::ids::{ProfileName, RegistrationId};
use serde::Deserialize;

use crate::bad_lines::BadLines;
use crate::batch_input::{Input, Source};
use crate::context::Context;
use crate::error::CommandError;
use crate::files::Files;
use crate::home::Home;
use crate::inputs::{Inputs, input_name};
use crate::spool::{CopyError, PrivateCopy};

/// What judges requests: a policy for each profile.
pub(crate) struct Judge<'a> {
    context: &'a Context,
    policies: BTreeMap<ProfileName, RequestPolicy>,
    default: RequestPolicy,
}

/// The endings of files that hold requests; a folder may hold others.
const ENDINGS: [&str; 6] = [".csr.pem", ".csr.der", ".csr", ".p10", ".req.pem", ".req"];

/// Something that holds requests.
pub(crate) enum Item {
    /// One in a file of its own, or several in PEM.
    File(PathBuf),
    /// The requests of a stream in PEM or DER, which is called so.
    Content(String, Vec<u8>),
    /// A line of a stream of JSON objects.
    Line(u64, Vec<u8>),
    /// A device of a list.
    Listed(Result<Device, BadLine>, PathBuf),
}

/// A line of a stream of requests.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StreamLine {
    registration_id: Option<RegistrationId>,
    /// PEM, or base64 of DER.
    csr: String,
}

/// What a profile of `pki.toml` lets in, for requests that name the device in their CN.
pub(crate) fn policy(home: &Home, profile: &ProfileName) -> Result<RequestPolicy, CommandError> {
    let declared = home.declaration()?.profiles.get(profile);
    Ok(RequestPolicy {
        id_from: IdFrom::CommonName,
        keys: declared.and_then(|profile| profile.csr_keys.clone()),
    })
}

impl<'a> Judge<'a> {
    /// A judge of what the profiles of `pki.toml` let in.
    pub(crate) fn new(
        context: &'a Context,
        declaration: &Declaration,
        profile: &ProfileName,
        id_from: IdFrom,
    ) -> Self {
        let policy = |keys| RequestPolicy { id_from, keys };
        let policies: BTreeMap<ProfileName, RequestPolicy> = declaration
            .profiles
            .iter()
            .map(|(name, profile)| (name.clone(), policy(profile.csr_keys.clone())))
            .collect();
        Self {
            context,
            default: policies.get(profile).cloned().unwrap_or_default(),
            policies,
        }
    }

    /// Judges all of an input; what is sound becomes the input of a batch that is called `name`.
    pub(crate) fn judge(
        &self,
        items: impl Iterator<Item = Item> + Send,
        name: String,
        jobs: usize,
    ) -> Result<Input, CommandError> {
        let mut bad = BadLines::new(self.context.ui.is_json())?;
        let (sound, (judgement, digest)) = PrivateCopy::make(|copy| {
            let mut copy = HashingWriter::new(copy, OutputHash::new());
            let mut refuse = |line| bad.push(line);
            let judged = judge_all(items, |item| self.item(item), jobs, &mut copy, &mut refuse);
            let judgement = judged.map_err(CopyError)?;
            Ok::<_, CopyError>((judgement, copy.hash().digest()))
        })?;
        let source = Source::judged(sound, digest, name);
        Input::judged(&self.context.ui, source, judgement, bad)
    }

    /// What came of each request of an item.
    pub(crate) fn item(&self, item: Item) -> Vec<Judged> {
        match item {
            Item::File(path) => self.file(&path),
            Item::Content(name, content) => self.content(&name, None, &content),
            Item::Line(number, line) => vec![self.line(Place::Line(number), &line)],
            Item::Listed(device, folder) => vec![match device {
                Ok(device) => self.listed(device, &folder),
                Err(bad) => Judged::unusable(bad),
            }],
        }
    }

    fn file(&self, path: &Path) -> Vec<Judged> {
        let name = path.display().to_string();
        match self.context.files.read(path) {
            Ok(content) => self.content(&name, id_in_name(path).as_deref(), &content),
            Err(error) => vec![unreadable(Place::File(name), path, &error)],
        }
    }

    fn content(&self, name: &str, file_name: Option<&str>, content: &[u8]) -> Vec<Judged> {
        let requests = match csr::requests(content) {
            Ok(requests) => requests,
            Err(error) => return vec![Judged::bad(Place::File(name.to_owned()), "", error)],
        };
        let several = requests.len() > 1;
        let file_name = file_name.filter(|_| !several);
        let stated = Stated {
            id: None,
            file_name,
        };
        let judged = (1..).zip(&requests).map(|(number, der)| {
            let place = Place::File(if several {
                format!("{name}, request {number}")
            } else {
                name.to_owned()
            });
            let rest = |id| Device::new(place.clone(), id);
            Judged::request(&place, der, stated, &self.default, rest)
        });
        judged.collect()
    }

    fn line(&self, place: Place, line: &[u8]) -> Judged {
        let read: StreamLine = match serde_json::from_slice(line) {
            Ok(read) => read,
            Err(error) => {
                let text = String::from_utf8_lossy(line);
                let value: String = text.trim().chars().take(30).collect();
                let reason = error.to_string().replace(" line 1 column ", " column ");
                return Judged::bad(place, value, reason);
            }
        };
        let stated = Stated {
            id: read.registration_id.as_ref(),
            file_name: None,
        };
        match csr::request_in_text(&read.csr) {
            Ok(der) => Judged::request(&place, &der, stated, &self.default, |id| {
                Device::new(place.clone(), id)
            }),
            Err(error) => {
                let value = stated.id.map(ToString::to_string).unwrap_or_default();
                Judged::bad(place, value, error)
            }
        }
    }

    fn listed(&self, device: Device, folder: &Path) -> Judged {
        let policy = match self.policy(&device) {
            Ok(policy) => policy,
            Err(bad) => return Judged::unusable(bad),
        };
        let DeviceKey::Unchecked(text) = &device.key else {
            return Judged::sound(device);
        };
        let place = device.place.clone();
        let der = if text.contains("-----BEGIN ") {
            csr::request_in_text(text).map_err(|error| error.to_string())
        } else {
            let path = folder.join(text);
            match self.context.files.read(&path) {
                Ok(content) => csr::only_request(&content)
                    .map_err(|error| format!("{}: {error}", path.display())),
                Err(error) => return unreadable(place, &path, &error),
            }
        };
        let der = match der {
            Ok(der) => der,
            Err(error) => return Judged::bad(place, device.id.as_str(), error),
        };
        let id = device.id.clone();
        let stated = Stated {
            id: Some(&*id),
            file_name: None,
        };
        Judged::request(&place, &der, stated, policy, |_| device)
    }

    /// What the profile lets in that the list names.
    pub(crate) fn policy(&self, device: &Device) -> Result<&RequestPolicy, BadLine> {
        let Some(profile) = &device.profile else {
            return Ok(&self.default);
        };
        let policy = self.policies.get(profile);
        policy.ok_or_else(|| unknown_profile(&device.place, profile))
    }
}

fn unreadable(place: Place, path: &Path, error: &CommandError) -> Judged {
    let cause = error.causes().into_iter().next();
    let reason = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    Judged::bad(place, path.display().to_string(), reason)
}

/// The registration ID in a file name, as we write them: percent-encoded, an ending behind it.
fn id_in_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = ENDINGS
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .or_else(|| name.strip_suffix(".pem"))
        .or_else(|| name.strip_suffix(".der"));
    let decoded = percent_decode_str(stem.unwrap_or(name))
        .decode_utf8()
        .ok()?;
    Some(decoded.into_owned())
}

/// An input of `sign`: what it is, and what it holds.
pub(crate) enum RequestInput {
    /// Requests one by one.
    Single(Item),
    /// A folder of files with requests, and how many others are in it.
    Folder(Vec<PathBuf>, usize),
    /// JSON objects, one a line.
    Stream(Box<dyn BufRead + Send>),
}

impl RequestInput {
    /// Looks at a path: a folder, a stream of JSON objects, or requests; `-` is standard input.
    pub(crate) fn open(inputs: &Inputs, files: &Files, path: &Path) -> Result<Self, CommandError> {
        if files.is_folder(path) {
            return Self::folder(files, path);
        }
        if let Some(copy) = inputs.copy_of_stream(path)? {
            return Self::copied(input_name(path), &copy);
        }
        let open = || {
            let file = files.open_stream(path)?;
            Ok::<_, CommandError>(BufReader::with_capacity(1 << 16, file))
        };
        if !begins_with_object(open()?) {
            return Ok(Self::Single(Item::File(path.to_owned())));
        }
        Ok(Self::Stream(Box::new(open()?)))
    }

    /// What was read of standard input or of a pipe.
    fn copied(name: String, copy: &PrivateCopy) -> Result<Self, CommandError> {
        if begins_with_object(copy.reader()) {
            return Ok(Self::Stream(Box::new(copy.reader())));
        }
        let mut content = Vec::new();
        let mut beginning = copy.reader().take(Files::LARGEST_INPUT + 1);
        let read = beginning.read_to_end(&mut content).map_err(CopyError)?;
        if u64::try_from(read).is_ok_and(|read| read > Files::LARGEST_INPUT) {
            let message = format!("{name}: it is larger than 16 MiB and no stream of JSON objects");
            return Err(CommandError::invalid_input(message));
        }
        Ok(Self::Single(Item::Content(name, content)))
    }

    fn folder(files: &Files, path: &Path) -> Result<Self, CommandError> {
        let (requests, others): (Vec<PathBuf>, Vec<PathBuf>) =
            files.list(path)?.into_iter().partition(|path| {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .to_ascii_lowercase();
                ENDINGS.iter().any(|ending| name.ends_with(ending))
            });
        if requests.is_empty() {
            return Err(CommandError::invalid_input(format!(
                "{}: it holds no file that is a request by its name",
                path.display()
            ))
            .hint(format!("requests end in {}", ENDINGS.join(", "))));
        }
        Ok(Self::Folder(requests, others.len()))
    }

    /// Whether a batch is the way to sign it.
    pub(crate) fn is_many(&self) -> bool {
        !matches!(self, Self::Single(_))
    }

    /// What it holds, one after the other.
    pub(crate) fn items(self) -> Box<dyn Iterator<Item = Item> + Send> {
        match self {
            Self::Single(item) => Box::new(std::iter::once(item)),
            Self::Folder(paths, _) => Box::new(paths.into_iter().map(Item::File)),
            Self::Stream(reader) => Box::new(lines(reader)),
        }
    }
}

/// The lines of a stream that are not blank. One that cannot be read is told as a line that is none.
fn lines(mut reader: Box<dyn BufRead + Send>) -> impl Iterator<Item = Item> + Send {
    /// What a request of an elliptic key takes, and some more.
    const USUAL: usize = 1 << 10;
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            let mut line = Vec::with_capacity(USUAL);
            number += 1;
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(_) => return Some(Item::Line(number, line)),
                Err(error) => {
                    let reason = format!("it cannot be read: {error}");
                    let bad = BadLine {
                        place: Place::Line(number),
                        value: String::new(),
                        reason,
                    };
                    return Some(Item::Listed(Err(bad), PathBuf::new()));
                }
            }
        }
    })
}

/// Whether the first character that is none of a byte-order mark or white space opens a JSON object.
fn begins_with_object(reader: impl Read) -> bool {
    let mut start = Vec::new();
    if reader.take(4096).read_to_end(&mut start).is_err() {
        return false;
    }
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    start.trim_ascii_start().first() == Some(&b'{')
}
