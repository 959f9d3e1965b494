//! The person at the terminal: what is asked, and whether there is somebody to ask.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::oneshot;

use crate::error::{CommandError, ErrorKind};
use crate::host::{Prompt, Terminal};
use crate::render::outside;
use crate::render::ui::Ui;
use crate::runtime::Runtime;

/// Asks the person at the terminal.
pub struct Dialog {
    pub(crate) terminal: Terminal,
    pub(crate) prompt: Arc<dyn Prompt>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) ui: Arc<Ui>,
    /// Whether `--yes` has answered all questions beforehand.
    pub(crate) is_confirmed: bool,
}

impl Dialog {
    /// Whether there is somebody at a terminal to be asked.
    pub(crate) fn can_ask(&self) -> bool {
        self.terminal.can_ask()
    }

    /// Asks for a yes; `--yes` has given it beforehand. `question` says what is about to happen.
    ///
    /// # Errors
    /// `Refused` if the answer is no, or there is nobody to ask.
    pub fn confirm(&self, question: &str) -> Result<(), CommandError> {
        if self.is_confirmed {
            return Ok(());
        }
        if !self.can_ask() {
            return Err(CommandError::refused(format!("not confirmed: {question}"))
                .hint("there is no terminal to ask at; run it again with --yes"));
        }
        let asked = format!("{} [y/N] ", outside::lines(question));
        let answer = self.answer(move |prompt| prompt.line(&asked))?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CommandError::refused(format!("not confirmed: {question}"))),
        }
    }

    /// Asks for a secret.
    ///
    /// # Errors
    /// `Refused` if there is nobody to ask, or the answer is empty.
    pub(crate) fn secret(&self, question: &str) -> Result<SecretString, CommandError> {
        if !self.can_ask() {
            return Err(CommandError::refused(
                "a passphrase is needed, and there is no terminal to ask at",
            )
            .hint("give it with --passphrase-file, or in DPS_PKI_PASSPHRASE"));
        }
        let asked = outside::line(question).into_owned();
        let answer = self.answer(move |prompt| prompt.secret(&asked))?;
        if answer.expose_secret().is_empty() {
            Err(CommandError::refused("the passphrase is empty"))
        } else {
            Ok(answer)
        }
    }

    /// What the person says, unless it is Ctrl-C. Once something has waited for that, the system leaves
    /// it to whoever waits, so the question waits for it as well.
    fn answer<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Prompt) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, CommandError> {
        if !self.runtime.can_be_waited_for() {
            return ask(self.prompt.as_ref()).map_err(no_answer);
        }
        let prompt = Arc::clone(&self.prompt);
        let (sender, answer) = oneshot::channel();
        std::thread::spawn(move || sender.send(ask(prompt.as_ref())));
        let answer = self.runtime.block_on(async {
            let answer = answer.await;
            answer
                .unwrap_or_else(|_| Err(std::io::ErrorKind::BrokenPipe.into()))
                .map_err(no_answer)
        });
        if matches!(&answer, Err(error) if error.kind == ErrorKind::Interrupted) {
            // The question stands on the line still.
            self.ui.end_progress();
        }
        answer
    }
}

fn no_answer(error: std::io::Error) -> CommandError {
    CommandError::failed("the terminal gave no answer").because(error)
}
