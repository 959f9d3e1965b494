//! `completions` and `man`: what the command definitions generate.

use std::fmt;
use std::io;
use std::path::PathBuf;

use clap_complete::Shell;
use clap_mangen::Man;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::{Access, NewFile};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki completions bash
  dps-pki completions zsh")]
pub(crate) struct CompletionArgs {
    /// Which shell
    shell: Shell,
}

impl CompletionArgs {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "dps-pki", &mut script);
        context.ui.raw(&script)?;
        Ok(Outcome::Done)
    }
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki man man1")]
pub(crate) struct ManArgs {
    /// The folder; made if it does not exist, other pages in it are replaced with --force
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ManArgs {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let mut command = super::command();
        command.build();
        let mut pages = Vec::new();
        render_pages(&command, &mut pages)
            .map_err(|error| CommandError::failed("cannot make the man pages").because(error))?;
        if !context.settings.dry_run {
            context.files.create_folder(&self.folder, Access::Public)?;
            let files = pages.iter().map(|page| NewFile {
                path: self.folder.join(&page.name),
                content: &page.content,
                access: Access::Public,
            });
            context.files.write_outputs(&files.collect::<Vec<_>>())?;
        }
        let pages = pages
            .into_iter()
            .map(|page| self.folder.join(page.name))
            .collect();
        context.ui.result(&Written { pages })?;
        Ok(Outcome::Done)
    }
}

struct Page {
    name: String,
    content: Vec<u8>,
}

fn render_pages(command: &clap::Command, pages: &mut Vec<Page>) -> io::Result<()> {
    let man = Man::new(command.clone());
    let mut content = Vec::new();
    man.render(&mut content)?;
    pages.push(Page {
        name: man.get_filename(),
        content,
    });
    // Each page is a help already: the "help" of every group would double them all.
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        render_pages(inner, pages)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Written {
    pages: Vec<PathBuf>,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self
            .pages
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        f.write_str(&names.join("\n"))
    }
}
