//! The commands, one file per group. To add one: its file with `Args` and `run`, a variant, an arm.
//!
//! What a command is for stands here, at its variant. Arguments that a command shares with others have
//! comments instead of docs, which clap would take for what the command is for.

mod audit;
mod authority;
mod batch;
mod change;
mod check;
mod convert;
mod crl;
mod csr;
mod deprovision;
mod dps;
mod emulator;
mod everywhere;
mod explain;
mod hub;
mod impact;
mod init;
mod inspect;
mod inventory;
mod issue;
mod issue_batch;
mod issue_each;
mod journal;
mod lint;
mod needs_renewal;
mod opening;
mod plan;
mod possession;
mod quarantine;
mod quickstart;
mod readmit;
mod renew;
mod revoke;
mod roll;
mod shell;
mod sign;
mod verify;

use clap::CommandFactory as _;

use crate::config::GlobalFlags;
use crate::context::Context;
use crate::error::CommandResult;

/// Build, prove, push, rotate and revoke device certificates for Azure DPS
#[derive(clap::Parser)]
#[command(
    name = "dps-pki",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) flags: GlobalFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The definition of every command, for help, man pages and completions; `build` puts together what
/// belongs to each.
pub fn command() -> clap::Command {
    Cli::command()
}

/// A command and its arguments. Those of a command are not put together before it is asked for: all of
/// them take longer than issuing a certificate.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// See the whole lifecycle on an embedded local DPS: no account, no argument
    Quickstart(quickstart::Args),
    /// Make a home: a folder with a pki.toml from a template
    Init(init::Args),
    /// Make, take over, list and export authorities
    Authority(authority::Args),
    /// Make the verification certificate for a code that DPS gave; its own key is never written
    Possession(possession::Args),
    /// Issue key, leaf and full chain for devices, a few or a whole line
    Issue(issue::IssueArgs),
    /// Sign the requests (CSRs) of devices that made their own keys
    ///
    /// Only the key is taken from a request, and whose it is; what it asks for beyond is told and dropped.
    /// A request must be signed by its own key with SHA-256 or better, and its key be of a kind that the
    /// profile takes (csr-keys in pki.toml). It is kept, so that renewing needs no new one.
    ///
    /// A folder, a stream of JSON objects, or any option of batches makes a batch of all requests.
    Sign(sign::Args),
    /// Issue a new leaf with the same CN for devices that have one
    ///
    /// The old leaf stays valid until its end; its labels and alternative names are taken over. A device
    /// that made its own key gets a leaf for that key, by the request that it once sent, or for another
    /// one with --csr; for all others a new key is made.
    Renew(renew::Args),
    /// Make signing requests, as devices do
    Csr(csr::Args),
    /// Check that a certificate's path leads to a trust anchor
    ///
    /// The first certificate of CERT is judged; what follows it in the file may be part of the path, but
    /// is not trusted. Without --anchor the home's roots are trusted, and its other authorities may be
    /// part of the path, unless they are compromised. Exit code 4 if the path does not hold.
    ///
    /// OpenSSL builds and judges the path; each certificate's form is checked too (see lint), and each
    /// CRL that is given. The report names every check of every certificate.
    Verify(verify::Args),
    /// Tell what a file holds: certificates, CSRs, CRLs, keys; PEM, DER, PKCS#7 or PKCS#12
    ///
    /// Of private keys only the public part is shown. What is encrypted is opened if a passphrase was
    /// given.
    Inspect(inspect::Args),
    /// Convert certificates, requests, CRLs and keys from one form into another
    ///
    /// What the files are is found out by reading them: PEM, DER, PKCS#7 or PKCS#12. Several files are
    /// taken together: a certificate, its key and its issuers make one PKCS#12 file. Private keys are left
    /// out unless they are asked for, and then come out encrypted unless asked for otherwise.
    Convert(convert::Args),
    /// Check certificates against the rules of RFC 5280 and DPS, each finding with its source
    ///
    /// Made for certificates of others: what is issued here is checked by the same rules before it is
    /// signed. Certificates in one file are looked at as a chain. Exit code 4 if there is an error.
    Lint(lint::Args),
    /// Tell whether the end of a certificate is near: exit code 10 if it is
    ///
    /// Made for scripts; it needs no home, and judges nothing else: see verify and lint.
    NeedsRenewal(needs_renewal::Args),
    /// Make the CRL of an authority: everything of it that was revoked
    ///
    /// The list is whole, signed with the key that signed the certificates, and has a number that grows
    /// with each. DPS and IoT Hub consult no CRL: what keeps a device out of them is quarantine. CRLs are
    /// for other services that trust the same authorities.
    ///
    /// Of an authority that was taken over, and made CRLs elsewhere, name the last of these once: all that
    /// are made here get greater numbers, without which nobody would take them for newer.
    Crl(crl::Args),
    /// Mark certificates as revoked, for the next CRL of their authorities
    ///
    /// A registration ID stands for all certificates of the device that are in force. Revocation is
    /// final, but for certificateHold. DPS and IoT Hub consult no CRL and still admit the device: shut it
    /// out with quarantine.
    Revoke(revoke::Args),
    /// Tell what somebody has to see to: what is wrong, ends soon, or was left open
    ///
    /// Made for cron and monitoring. The inventory is looked at: its audit trail, the ends of authorities and
    /// leaves, rolls and plans that are open. With --dps the instance is held against pki.toml, too.
    Check(check::Args),
    /// Show what differs between pki.toml and DPS, the steps and their impact
    Plan(plan::PlanArgs),
    /// Bring DPS to what pki.toml declares: upload and prove CAs, put groups
    Apply(plan::ApplyArgs),
    /// Tell whether DPS would admit a device, which entry decides, and why
    Explain(explain::Args),
    /// Tell who would be hit if an authority, a device or a certificate were refused
    ///
    /// It compares what DPS decides now about every valid leaf of the inventory with what it would decide
    /// without these: because they are compromised, have expired, or are removed. Nothing is changed.
    Impact(impact::Args),
    /// Roll authorities and leaves, by expiry or after a breach
    ///
    /// By expiry, the new certificate stands beside the old one until every device has moved, and nobody
    /// is refused. After a breach (--compromised), the old one is shut out first. The name is that of an
    /// authority, or of a device with an individual enrollment; a device of a group needs no roll, only a
    /// new leaf.
    Roll(roll::Args),
    /// Shut devices out everywhere: disabled enrollment, registration record, hub identity
    ///
    /// Many devices are shut out of DPS first, ten in a call, then told to their hubs; the report has a line
    /// for each of them, and those that failed do not stop the others.
    Quarantine(quarantine::Args),
    /// Let a device that was shut out back in, with its new leaf only
    ///
    /// Its entry becomes an enabled one that names the new leaf. The old leaf stays out, and the entry must
    /// stay until that has expired; apply deletes it then.
    Readmit(readmit::Args),
    /// Take devices, or a group with all its devices, out of DPS and off their hubs for good
    ///
    /// Disenrolled first, deregistered afterwards, with the registration records; then DPS is read again,
    /// and each device must be refused. A device that a group would admit is kept out by a disabled
    /// enrollment, which must stay; and so is a group whose devices another group would admit. Revoking
    /// the leaves is another matter: revoke.
    Deprovision(deprovision::Args),
    /// Plans that changed DPS: what was done, and what was cut short
    ///
    /// A plan is stored before its first step, and each step before and after it is sent. One that was
    /// interrupted stays open until it is resumed or abandoned; running its command again resumes it too.
    Journal(journal::Args),
    /// List certificates of the inventory, show one, count, export or import them
    Inventory(inventory::Args),
    /// List batches, show one, verify what a batch has handed out, open it at the line
    Batch(batch::Args),
    /// Read and verify the audit trail, prove what is in it
    Audit(audit::Args),
    /// Run a local DPS with linked hubs until Ctrl-C, and say how to reach it
    Emulator(emulator::Args),
    /// Look at and change single records in DPS: CA certificates, groups, devices, registrations
    Dps(dps::Args),
    /// Look at and change device identities in the hubs
    Hub(hub::Args),
    /// Print the completion script of a shell
    Completions(shell::CompletionArgs),
    /// Write the man pages of all commands into a folder
    Man(shell::ManArgs),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> CommandResult {
        match self {
            Self::Quickstart(args) => args.run(context),
            Self::Init(args) => args.run(context),
            Self::Authority(args) => args.run(context),
            Self::Possession(args) => args.run(context),
            Self::Issue(args) => args.run(context),
            Self::Sign(args) => args.run(context),
            Self::Renew(args) => args.run(context),
            Self::Csr(args) => args.run(context),
            Self::Verify(args) => args.run(context),
            Self::Inspect(args) => args.run(context),
            Self::Convert(args) => args.run(context),
            Self::Lint(args) => args.run(context),
            Self::NeedsRenewal(args) => args.run(context),
            Self::Crl(args) => args.run(context),
            Self::Revoke(args) => args.run(context),
            Self::Check(args) => args.run(context),
            Self::Plan(args) => args.run(context),
            Self::Apply(args) => args.run(context),
            Self::Explain(args) => args.run(context),
            Self::Impact(args) => args.run(context),
            Self::Roll(args) => args.run(context),
            Self::Quarantine(args) => args.run(context),
            Self::Readmit(args) => args.run(context),
            Self::Deprovision(args) => args.run(context),
            Self::Journal(args) => args.run(context),
            Self::Inventory(args) => args.run(context),
            Self::Batch(args) => args.run(context),
            Self::Audit(args) => args.run(context),
            Self::Emulator(args) => args.run(context),
            Self::Dps(args) => args.run(context),
            Self::Hub(args) => args.run(context),
            Self::Completions(args) => args.run(context),
            Self::Man(args) => args.run(context),
        }
    }
}
