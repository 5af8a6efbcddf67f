//! Hands the volume of a claim over to a claim of another name, as when a Deployment becomes a
//! StatefulSet.

mod pairs;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use lockkeeper::{
    api::marks,
    core::volumes::{Told, conversions, why_not_converted},
    shell::clock,
};
use serde_json::json;

use self::pairs::Pair;
use super::{
    PAUSE, TIMED_OUT,
    objects::Place,
    seen::{Seen, claim_view, namespace_view, volume_view},
    size,
};
use crate::{
    cluster::{Cluster, Failure},
    named::WorkloadArgument,
};

/// Several API servers may learn of a reservation one after the other.
const SETTLE: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Say which claims would get which volumes, and what is in the way. Changes nothing
    #[command(after_help = "Examples:
  helm template web charts/web-2 | kubectl lockkeeper convert plan deployment/web -n shop -f -
  kubectl lockkeeper convert plan -n shop --claim web-data=data-web-0

Needs: view, and get on PersistentVolumes and ResourceQuotas for all that it can say")]
    Plan {
        #[command(flatten)]
        what: What,
    },
    /// Reserve the names of the claims, and wait until this is done. Then deploy the new workload
    ///
    /// From then on a claim of the new name gets the volume of the old one, and no other: it waits
    /// until nothing uses the old claim. Nothing is deleted and nothing is copied. If the change is
    /// rolled back, the volume goes back by itself.
    ///
    /// Exit code 0: prepared; 1: refused; 2: the operator has not done it in time.
    #[command(after_help = "Examples:
  helm template web charts/web-2 | kubectl lockkeeper convert start deployment/web -n shop -f -
  kubectl lockkeeper convert start -n shop --claim web-data=data-web-0
  helm upgrade web charts/web-2 -n shop --wait           # then

Needs: the verb convert on upgradepolicies.lockkeeper.dev, and permission to patch claims")]
    Start {
        #[command(flatten)]
        what: What,
        /// How long to wait for the operator, such as 30s
        #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = crate::duration)]
        timeout: Duration,
    },
    /// List the conversions of the namespace, how far they are, and what comes next
    #[command(after_help = "Examples:
  kubectl lockkeeper convert status -n shop

Needs: view, and get on PersistentVolumes")]
    Status,
    /// End a conversion whose volume is still, or again, with the first claim
    #[command(after_help = "Examples:
  kubectl lockkeeper convert abort -n shop web-data

Needs: the verb convert on upgradepolicies.lockkeeper.dev, and permission to patch claims")]
    Abort {
        #[command(flatten)]
        end: End,
    },
    /// End a conversion whose volume is with the new claim: it stays there
    #[command(after_help = "Examples:
  kubectl lockkeeper convert finish -n shop data-web-0

Needs: the verb convert on upgradepolicies.lockkeeper.dev, and permission to patch claims")]
    Finish {
        #[command(flatten)]
        end: End,
    },
}

/// Which volumes go to which claims.
#[derive(Args)]
pub struct What {
    #[command(flatten)]
    workload: Option<WorkloadArgument>,
    /// The workload that it becomes, such as statefulset/web. Without it: the StatefulSet of the same
    /// name, or else the only workload among the manifests
    #[arg(long, value_name = "KIND/NAME", requires = "filename")]
    to: Option<String>,
    /// The manifests of the new version: files, folders, or - for standard input
    #[arg(short, long, value_name = "FILE", required_unless_present = "claim", requires = "words")]
    filename: Vec<String>,
    /// A claim, and the claim that gets its volume; may be given several times
    #[arg(long, value_name = "OLD=NEW", conflicts_with_all = ["filename", "words"])]
    claim: Vec<String>,
}

/// Which conversion ends.
#[derive(Args)]
pub struct End {
    /// One of its two claims
    #[arg(value_name = "CLAIM")]
    claim: String,
    /// How long to wait for the operator, such as 30s
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = crate::duration)]
    timeout: Duration,
}

/// Does it.
pub async fn run(cluster: &Cluster, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Plan { what } => plan(cluster, &what).await,
        Command::Start { what, timeout } => start(cluster, &what, timeout).await,
        Command::Status => status(cluster).await,
        Command::Abort { end } => finish(cluster, &end, false).await,
        Command::Finish { end } => finish(cluster, &end, true).await,
    }
}

/// Which volumes go where, and the reasons why not.
struct Judged {
    lines: Vec<String>,
    refused: Vec<String>,
}

async fn judge(cluster: &Cluster, pairs: &[Pair]) -> Result<Judged, Failure> {
    let mut seen = Seen::read(cluster, Some(&cluster.namespace)).await?;
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    for pair in pairs {
        let place = Place::claim(&cluster.namespace, &pair.from);
        let Some(raw) = place.get(cluster).await? else {
            refused.push(format!("there is no {place}"));
            continue;
        };
        let claim = claim_view(&raw)?;
        let Some(name) = claim.volume else {
            refused.push(format!("{place} has no volume. Wait until it is bound"));
            continue;
        };
        // Who may not read volumes is told by the operator what is wrong with them.
        let Ok(Some(raw)) = Place::volume(&name).get(cluster).await else {
            lines
                .push(format!("{} -> {}: volume {name}, which cannot be read", pair.from, pair.to));
            continue;
        };
        let volume = volume_view(raw)?;
        let view = &volume.view;
        let policy = match view.reclaim_policy.as_str() {
            "Retain" => "reclaim policy Retain".to_owned(),
            other => format!("reclaim policy {other}, which is Retain until it is over"),
        };
        let (bytes, modes) = (size(view.capacity), view.modes.join(", "));
        lines.push(format!(
            "{} -> {}: volume {name} ({bytes}, {modes}, {policy})",
            pair.from, pair.to
        ));
        lines.extend(pair.notes(&volume).into_iter().map(|note| format!("  note: {note}")));
        seen.storage.insert(volume.view);
        if let Some(world) = seen.worlds.get(&cluster.namespace) {
            refused.extend(why_not_converted(world, &seen.storage, &pair.from, &pair.to));
        }
    }
    refused.extend(pairs::quota(cluster, pairs).await);
    Ok(Judged { lines, refused })
}

async fn plan(cluster: &Cluster, what: &What) -> Result<ExitCode, Failure> {
    let pairs = pairs::of(cluster, what).await?;
    let judged = judge(cluster, &pairs).await?;
    judged.lines.iter().for_each(|line| println!("{line}"));
    if !judged.refused.is_empty() {
        return Err(Failure::No(judged.refused.join("\nerror: ")));
    }
    println!(
        "Nothing is in the way. To reserve the names: kubectl lockkeeper convert start, with the same arguments"
    );
    Ok(ExitCode::SUCCESS)
}

async fn start(cluster: &Cluster, what: &What, timeout: Duration) -> Result<ExitCode, Failure> {
    let pairs = pairs::of(cluster, what).await?;
    let judged = judge(cluster, &pairs).await?;
    judged.lines.iter().for_each(|line| println!("{line}"));
    if !judged.refused.is_empty() {
        let all = judged.refused.join("; ");
        return Err(Failure::No(format!("{all}. Nothing was changed")));
    }
    let mut volumes = Vec::new();
    for pair in &pairs {
        let place = Place::claim(&cluster.namespace, &pair.from);
        let claim = claim_view(&place.get(cluster).await?.ok_or(Failure::Gone)?)?;
        say(cluster, &place, &claim.uid, Some(&pair.to)).await?;
        volumes.push(claim.volume.unwrap_or_default());
    }
    let until = clock::moment() + timeout;
    let namespace = Place::namespace(&cluster.namespace);
    loop {
        let object = namespace.get(cluster).await?.ok_or(Failure::Gone)?;
        let object = namespace_view(&object)?;
        let reserved = |(pair, volume): (&Pair, &String)| {
            object.reserved(&pair.from) == Some(volume) && object.reserved(&pair.to) == Some(volume)
        };
        if pairs.iter().zip(&volumes).all(reserved) {
            tokio::time::sleep(SETTLE).await;
            println!(
                "Prepared. Deploy the new version now: its claims wait until nothing uses the old ones."
            );
            println!(
                "To see how far it is: kubectl lockkeeper convert status -n {}",
                cluster.namespace
            );
            return Ok(ExitCode::SUCCESS);
        }
        if clock::moment() >= until {
            eprintln!(
                "The operator has not reserved the names within {}s. Do not deploy the new version yet: its claims could get empty volumes. Is the operator \
                 running? What it says: kubectl get events -n {} --field-selector involvedObject.kind=PersistentVolumeClaim",
                timeout.as_secs(),
                cluster.namespace
            );
            return Ok(ExitCode::from(TIMED_OUT));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Says on a claim which one it becomes.
async fn say(
    cluster: &Cluster,
    place: &Place,
    uid: &str,
    becomes: Option<&str>,
) -> Result<(), Failure> {
    let what = format!("write {} on {place}", marks::BECOMES);
    let patch = json!({"metadata": {"uid": uid, "annotations": {marks::BECOMES: becomes}}});
    place.merge(cluster, &what, &patch, false).await?.map(drop).ok_or(Failure::Gone)
}

/// The conversions of the namespace.
async fn told(cluster: &Cluster) -> Result<(Seen, Vec<Told>), Failure> {
    let seen = Seen::read(cluster, Some(&cluster.namespace)).await?;
    let world = seen.worlds.get(&cluster.namespace);
    let told = world.map(|world| conversions(world, &seen.storage)).unwrap_or_default();
    Ok((seen, told))
}

async fn status(cluster: &Cluster) -> Result<ExitCode, Failure> {
    let (seen, told) = told(cluster).await?;
    for one in &told {
        println!("{}: {}", one.stage, one.message);
    }
    let claims =
        seen.worlds.get(&cluster.namespace).into_iter().flat_map(|one| one.claims.values());
    let mut asked = 0;
    for claim in claims {
        let Some(becomes) = claim.marks.becomes.as_deref() else { continue };
        let is_told = |one: &Told| [&one.from, &one.to].contains(&&claim.name);
        if !told.iter().any(is_told) && *becomes != *claim.name {
            asked += 1;
            println!("Requested: claim {} is to become {becomes}", claim.name);
        }
    }
    if told.is_empty() && asked == 0 {
        eprintln!("There are no conversions in namespace {}.", cluster.namespace);
    }
    seen.unseen.iter().for_each(|line| eprintln!("{line}"));
    Ok(ExitCode::SUCCESS)
}

/// Ends a conversion where the volume is with the claim that it should be with.
async fn finish(cluster: &Cluster, end: &End, keeps: bool) -> Result<ExitCode, Failure> {
    let (seen, told) = told(cluster).await?;
    let namespace = &cluster.namespace;
    let is_it = |one: &&Told| [&one.from, &one.to].contains(&&end.claim);
    let claim = |name: &str| seen.worlds.get(namespace).and_then(|world| world.claims.get(name));
    let Some(one) = told.iter().find(is_it) else {
        let asked = claim(&end.claim).filter(|claim| claim.marks.becomes.is_some() && !keeps);
        let Some(asked) = asked else {
            return Err(Failure::No(format!(
                "claim {} is in no conversion. kubectl lockkeeper convert status -n {namespace} lists them",
                end.claim
            )));
        };
        say(cluster, &Place::claim(namespace, &asked.name), &asked.uid, None).await?;
        println!("Claim {} becomes no other one.", asked.name);
        return Ok(ExitCode::SUCCESS);
    };
    let (from, to) = (&one.from, &one.to);
    match (keeps, &one.holder == from) {
        (true, true) => {
            return Err(Failure::No(format!(
                "claim {from} still has volume {}, and claim {to} does not. To end the conversion so: kubectl lockkeeper convert abort -n {namespace} {from}",
                one.volume
            )));
        }
        (false, false) => {
            return Err(Failure::No(format!(
                "claim {to} has volume {} now. To go back, roll the change back (helm rollback, for example): the volume goes back by itself. Then run this \
                 again. To leave the volume where it is: kubectl lockkeeper convert finish -n {namespace} {to}",
                one.volume
            )));
        }
        _ => {}
    }
    let holder = claim(&one.holder).ok_or_else(|| {
        Failure::No(format!(
            "there is no claim {} to end the conversion on. Deploy its workload again, and run this then",
            one.holder
        ))
    })?;
    let place = Place::claim(namespace, &holder.name);
    say(cluster, &place, &holder.uid, Some(&holder.name)).await?;
    let until = clock::moment() + end.timeout;
    loop {
        let (_, now) = self::told(cluster).await?;
        let Some(still) = now.iter().find(is_it) else {
            println!("The conversion is over: claim {} keeps volume {}.", one.holder, one.volume);
            if keeps && claim(from).is_some() {
                println!(
                    "Claim {from} has no volume any more, and may be deleted: kubectl delete pvc -n {namespace} {from}"
                );
            }
            return Ok(ExitCode::SUCCESS);
        };
        if clock::moment() >= until {
            eprintln!("Not over yet: {}", still.message);
            return Ok(ExitCode::from(TIMED_OUT));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
