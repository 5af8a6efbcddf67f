//! Asks before something is done that cannot be taken back.

use std::io::{BufRead, IsTerminal, Write};

use lockkeeper::core::world::WorkloadId;

use crate::cluster::{Failure, lower};

/// Asks for the workload's name on the terminal, after saying what would happen. Where nobody can be asked, `--yes` must have said it.
pub fn confirm(workload: &WorkloadId, what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure::No(format!("{what}. Nothing was changed: there is no terminal to ask on, so say --yes if you mean it")));
    }
    eprint!("{what}.\nType {} to go on: ", workload.name);
    std::io::stderr().flush().map_err(|error| Failure::Output(error.to_string()))?;
    let mut answer = String::new();
    let _ = input.lock().read_line(&mut answer);
    match answer.trim() == workload.name {
        true => Ok(()),
        false => Err(Failure::No(format!("nothing was changed on {}: that was not its name", lower(workload)))),
    }
}
