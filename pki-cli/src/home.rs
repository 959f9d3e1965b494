//! A home in use: its declaration and its inventory, opened when they are asked for.
//!
//! Where its files lie is [`Layout`]'s; who else may read and write them, `Permissions`'.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pki_core::declaration::{Declaration, DpsDeclaration};
use pki_core::ids::DpsName;
use pki_core::sqlite::{Patience, SqliteInventory};

use crate::config::Settings;
use crate::error::{CommandError, ErrorKind, in_declaration};
use crate::files::Files;
use crate::layout::Layout;
use crate::neighbour;
use crate::once::once;
use crate::permissions::Permissions;
use crate::render::ui::Ui;

/// A PKI home, whether it exists or not.
pub struct Home {
    /// Where its files are.
    pub layout: Layout,
    files: Arc<Files>,
    ui: Arc<Ui>,
    /// How long another process that writes to the inventory is waited for.
    patience: Option<Duration>,
    is_lax: bool,
    /// The instance that `--dps` names.
    dps: Option<DpsName>,
    declaration: OnceLock<Declaration>,
}

impl Home {
    /// The most that is read as a `pki.toml`: the parser takes its time with one huge line.
    const LARGEST_DECLARATION: usize = 1024 * 1024;

    /// The home in these places, used as the settings want it.
    pub(crate) fn new(layout: Layout, settings: &Settings, files: Arc<Files>, ui: Arc<Ui>) -> Self {
        let patience = settings.lock_timeout;
        Self {
            layout,
            files,
            ui,
            patience: patience.map(|span| Duration::from_secs(span.seconds())),
            is_lax: settings.lax_permissions,
            dps: settings.dps.clone(),
            declaration: OnceLock::new(),
        }
    }

    /// Who else may read and write what the authorities rest on.
    pub(crate) fn permissions(&self) -> Permissions<'_> {
        Permissions {
            files: &self.files,
            home: self.layout.root(),
            is_lax: self.is_lax,
        }
    }

    /// Warns of a file with secrets that others can read.
    pub(crate) fn warn_of_readable(&self, path: &Path, what: &str) {
        if let Some(warning) = self.permissions().readable(path, what) {
            self.ui.warn_once(warning);
        }
    }

    /// The home's `pki.toml`, read and checked.
    ///
    /// # Errors
    /// `NotFound` if there is none, `InvalidInput` if it is wrong.
    pub fn declaration(&self) -> Result<&Declaration, CommandError> {
        once(&self.declaration, || self.read_declaration())
    }

    fn read_declaration(&self) -> Result<Declaration, CommandError> {
        let path = self.layout.declaration_file();
        if self.files.exists(&path) {
            self.permissions().check_unwritable(self.layout.root())?;
            self.permissions().check_unwritable(&path)?;
        }
        let text = self
            .files
            .read_text(&path)
            .map_err(|error| match error.kind {
                ErrorKind::NotFound => error.hint("make a home with: dps-pki init"),
                _ => error,
            })?;
        if text.len() > Self::LARGEST_DECLARATION {
            let message = format!(
                "{} has {} bytes, more than any pki.toml needs",
                path.display(),
                text.len()
            );
            return Err(CommandError::invalid_input(message));
        }
        Declaration::parse(&text).map_err(|error| in_declaration(&path, &error))
    }

    /// The DPS instance that the command is about: the one that `--dps` names, or the only one.
    ///
    /// # Errors
    /// `NotFound` if there is none of that name; `Usage` if there are several and none is named.
    pub fn dps(&self) -> Result<(&DpsName, &DpsDeclaration), CommandError> {
        let declared = &self.declaration()?.dps;
        let known = || {
            let names: Vec<_> = declared.keys().map(DpsName::as_str).collect();
            format!("declared are: {}", names.join(", "))
        };
        match &self.dps {
            Some(name) => declared.get_key_value(name).ok_or_else(|| {
                CommandError::not_found(format!("pki.toml declares no DPS instance {name}"))
                    .hint(known())
            }),
            None if declared.len() > 1 => {
                let message = "pki.toml declares several DPS instances; choose one with --dps NAME";
                Err(CommandError::new(ErrorKind::Usage, message).hint(known()))
            }
            None => declared.first_key_value().ok_or_else(|| {
                CommandError::not_found("pki.toml declares no DPS instance")
                    .hint("add a table [dps.NAME] with the key service")
            }),
        }
    }

    /// The home's inventory, made if the home has none yet. A write-protected one can be read.
    ///
    /// # Errors
    /// `NotFound` if there is no home; else as [`SqliteInventory::open_or_create`].
    pub fn inventory(&self) -> Result<SqliteInventory, CommandError> {
        self.declaration()?;
        let path = self.layout.inventory_file();
        self.permissions().check_unwritable(&path)?;
        self.warn_of_readable(&path, "the inventory");
        Ok(SqliteInventory::open_or_create_with(
            &path,
            self.patience(),
        )?)
    }

    /// How long other processes are waited for, and what is told meanwhile.
    fn patience(&self) -> Patience {
        let tell_of_wait = self.ui.notes();
        let tell_of_upgrade = self.ui.notes();
        self.patience
            .map_or_else(Patience::default, Patience::ending_after)
            .telling(move |path| {
                let writer = neighbour::writer_of(path);
                let whom = writer.unwrap_or_else(|| "another process".to_owned());
                let path = path.display();
                tell_of_wait(&format!("waiting for {whom}, which writes to {path}"));
            })
            .telling_of_upgrades(move |path, certificates| {
                tell_of_upgrade(&format!(
                    "bringing {} up to date: each of its {certificates} certificates is read once",
                    path.display()
                ));
            })
    }
}
