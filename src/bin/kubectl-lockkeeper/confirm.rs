//! Asks before something is done that cannot be taken back.

use std::io::{BufRead, IsTerminal, Write};

use crate::cluster::Failure;

/// Asks for the object's name on the terminal, after saying what would happen. Where nobody can be
/// asked, `--yes` must have said it. `place` is the object as it is told to people.
pub fn confirm(name: &str, place: &str, what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure::No(format!(
            "{what}. Nothing was changed, because there is no terminal to ask on. To do it without being asked, add --yes"
        )));
    }
    eprint!("{what}.\nType {name} to continue: ");
    std::io::stderr().flush().map_err(|error| Failure::Output(error.to_string()))?;
    let mut answer = String::new();
    let _ = input.lock().read_line(&mut answer);
    match answer.trim() == name {
        true => Ok(()),
        false => {
            Err(Failure::No(format!("nothing was changed on {place}: the name was not confirmed")))
        }
    }
}
