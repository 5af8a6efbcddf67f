//! Speed and size of the operator on a real control plane, beside a reference measured in the same
//! run. Run by `make bench`; it asserts nothing, it prints.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark"
)]

mod app;
mod config;
mod hold;
mod objects;
mod operator;
mod process;
mod scale;
mod times;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use local_cluster::shared;

#[tokio::main]
async fn main() {
    let parts: Vec<_> = std::env::args().skip(1).collect();
    let wanted = |part: &str| parts.iter().any(|wanted| wanted == part);
    let text = std::fs::read_to_string(&shared().kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(
        Kubeconfig::from_yaml(&text).unwrap(),
        &KubeConfigOptions::default(),
    )
    .await
    .unwrap();
    let client = Client::try_from(config).unwrap();
    objects::prepare(&client).await;
    println!("\n{}", process::machine());
    if wanted("hold") {
        hold::run(&client).await;
    }
    if wanted("config") {
        config::run(&client).await;
    }
    if wanted("app") {
        hold::policies(&client, true).await;
        app::run(&client).await;
    }
    if wanted("scale") {
        scale::run(&client).await;
    }
}
