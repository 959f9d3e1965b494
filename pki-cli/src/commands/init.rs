//! `init`: make a home.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pki_core::declaration::Declaration;
use pki_core::ids::AuthorityName;
use pki_core::secret::Passphrase;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::config::Settings;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome, in_declaration};
use crate::files::{Access, Existing, Files};
use crate::layout::Layout;
use crate::render::ui::Ui;

#[derive(clap::Args)]
#[command(after_help = "\
Templates:
  quickstart  one root, one intermediate, a DPS on this machine
  factory     an offline root, CAs per site and line, DPS in Azure
  tutorial    the names and RSA keys of Microsoft's X.509 tutorials

Examples:
  dps-pki init
  dps-pki init factory-pki --template factory
  dps-pki init line-pki --new-passphrase line.passphrase
  dps-pki init copy --template ./existing.toml")]
pub(crate) struct Args {
    /// The folder; made if it does not exist [default: --home, else the working directory]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,

    /// A template's name, or a file to start from
    #[arg(long, value_name = "NAME|FILE", default_value = "quickstart")]
    template: PathBuf,

    /// Make a passphrase for the authority keys, of 125 random bits, in a new file that you alone can
    /// read, or on standard output for -; keys under it open in no time
    #[arg(long, value_name = "FILE")]
    new_passphrase: Option<PathBuf>,
}

/// The templates that come with the program.
const TEMPLATES: [(&str, &str); 3] = [
    (
        "quickstart",
        include_str!("../../../templates/quickstart.toml"),
    ),
    ("factory", include_str!("../../../templates/factory.toml")),
    ("tutorial", include_str!("../../../templates/tutorial.toml")),
];

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let folder = self.folder(&context.settings);
        let home = Layout::at(&folder);
        let text = self.template_text(&context.files)?;
        let declaration =
            Declaration::parse(&text).map_err(|error| in_declaration(&self.template, &error))?;
        if context.files.exists(&home.declaration_file()) {
            let message = format!("{} exists already", home.declaration_file().display());
            return Err(CommandError::refused(message).hint("edit it, or choose another folder"));
        }
        context.home.permissions().check_owner(home.root())?;
        self.check_passphrase(&context.files, &context.ui, &home)?;
        if !context.settings.dry_run {
            context.files.create_folder(home.root(), Access::Secret)?;
            warn_if_open(&context.files, &context.ui, home.root());
            self.make_passphrase(context)?;
            context
                .files
                .create_folder(&home.authorities(), Access::Secret)?;
            // Last, because a folder with a pki.toml is a home.
            let path = home.declaration_file();
            context
                .files
                .write(&path, text.as_bytes(), Access::Public, Existing::Keep)?;
        }
        let made = Made {
            declaration: home.declaration_file(),
            template: self.template.display().to_string(),
            authorities: declaration
                .authorities
                .into_iter()
                .map(|one| one.name)
                .collect(),
            dry_run: context.settings.dry_run,
            passphrase_file: self.new_passphrase.clone().filter(|_| !self.to_stdout()),
            home: folder,
        };
        // Where the passphrase goes there is nothing but the passphrase.
        if self.to_stdout() {
            context.ui.note(made);
        } else {
            context.ui.result(&made)?;
        }
        Ok(Outcome::Done)
    }

    /// Whether the new passphrase goes to standard output: into another program, such as a vault's.
    fn to_stdout(&self) -> bool {
        self.new_passphrase.as_deref() == Some(Path::new("-"))
    }

    fn check_passphrase(&self, files: &Files, ui: &Ui, home: &Layout) -> Result<(), CommandError> {
        let Some(path) = &self.new_passphrase else {
            return Ok(());
        };
        if self.to_stdout() {
            if ui.is_json() {
                let message = "standard output takes the passphrase, and JSON has no secrets";
                return Err(CommandError::new(ErrorKind::Usage, message)
                    .hint("leave --output json away, or name a file"));
            }
            return Ok(());
        }
        files.check_output(path)?;
        if files.is_below(path, home.root()) {
            let path = path.display();
            ui.warning(format!(
                "{path} lies in the home: whoever gets a copy of the home can open its keys"
            ));
        }
        Ok(())
    }

    fn make_passphrase(&self, context: &Context) -> Result<(), CommandError> {
        let Some(path) = &self.new_passphrase else {
            return Ok(());
        };
        let passphrase = Passphrase::random(context.entropy.as_ref())
            .map_err(|error| CommandError::failed(error.to_string()))?;
        let text = passphrase.secret().expose_secret().as_bytes();
        if self.to_stdout() {
            context.ui.raw(text)?;
            return context.ui.raw(b"\n");
        }
        context.files.write_output(path, text, Access::Secret)
    }

    fn folder(&self, settings: &Settings) -> PathBuf {
        let named = self.folder.clone().or_else(|| settings.home.clone());
        named.unwrap_or_else(|| PathBuf::from("."))
    }

    fn template_text(&self, files: &Files) -> Result<String, CommandError> {
        let built_in = TEMPLATES
            .iter()
            .find(|(name, _)| Path::new(name) == self.template);
        if let Some((_, text)) = built_in {
            return Ok((*text).to_owned());
        }
        files
            .read_text(&self.template)
            .map_err(|error| match error.kind {
                ErrorKind::NotFound => {
                    let names = TEMPLATES.map(|(name, _)| name).join(", ");
                    error.hint(format!(
                        "the templates are {names}; anything else is a file"
                    ))
                }
                _ => error,
            })
    }
}

/// A folder that was there keeps its permissions; the authorities' folder inside is closed anyway.
fn warn_if_open(files: &Files, ui: &Ui, folder: &Path) {
    let metadata = std::fs::metadata(files.resolve(folder));
    if metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
        let folder = folder.display();
        ui.warning(format!(
            "others may look into {folder}; close it with: chmod 700 {folder}"
        ));
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    home: PathBuf,
    declaration: PathBuf,
    template: String,
    authorities: Vec<AuthorityName>,
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    passphrase_file: Option<PathBuf>,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.declaration.display();
        if self.dry_run {
            return write!(f, "would write {path} from the template {}", self.template);
        }
        let home = if self.home.as_path() == Path::new(".") {
            String::new()
        } else {
            format!(" --home {}", self.home.display())
        };
        let passphrase = match &self.passphrase_file {
            None => String::new(),
            Some(file) => format!(" --passphrase-file {}", file.display()),
        };
        let names: Vec<&str> = self.authorities.iter().map(AuthorityName::as_str).collect();
        writeln!(f, "wrote {path} from the template {}", self.template)?;
        writeln!(f, "next:")?;
        writeln!(f, "  1. read and edit {path}")?;
        writeln!(
            f,
            "  2. dps-pki{home}{passphrase} authority create    makes {}",
            names.join(", ")
        )?;
        write!(
            f,
            "  3. dps-pki{home} plan                what DPS is still missing"
        )
    }
}
