//! A volume is handed over to another claim only if no pod uses the one that has it, when the request
//! is sent.

use std::time::Duration;

use lockkeeper::{
    core::{
        notice::StorageObject,
        request::{HandOver, StoragePatch},
    },
    shell::{
        errors::Error,
        executor::{Executor, Outcome},
        lease::Term,
    },
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::api_server::{ApiServer, Fault};

/// A pod of this claim, which no watch has told of.
fn pod(server: &ApiServer, claim: &str, phase: &str, deleted: Value) {
    server.put(
        "pods",
        json!({"metadata": {"name": "stray", "namespace": "shop", "deletionTimestamp": deleted}, "status": {"phase": phase},
            "spec": {"containers": [], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}}),
    );
}

async fn handed_over(server: &ApiServer) -> Result<(), Error> {
    let (done, mut completions) = mpsc::unbounded_channel();
    let (_leads, term) = watch::channel(Term::undisputed(Duration::from_secs(3600)));
    let mut executor = Executor::new(server.client(), done, term);
    let mut patch = StoragePatch::new(StorageObject::Volume("pv".to_owned()), &"uid-pv".into(), 1);
    patch.hand_over =
        Some(HandOver { from: "data".into(), to: "data-web-0".into(), uid: "claim-new".into() });
    executor.storage("shop", patch, None);
    let Outcome::Storage(_, _, result) = completions.recv().await.unwrap().outcome else {
        panic!("it is of storage");
    };
    result.map(drop)
}

#[tokio::test]
async fn a_volume_stays_with_a_claim_that_a_pod_uses_which_was_not_seen_yet() {
    let server = ApiServer::new();
    let deleted = json!("2026-11-20T09:00:00Z");
    // The node of one that has finished and is being deleted may still have the volume mounted.
    for (phase, deleted) in
        [("Pending", Value::Null), ("Running", Value::Null), ("Succeeded", deleted)]
    {
        pod(&server, "data", phase, deleted);
        let Err(error) = handed_over(&server).await else { panic!("{phase}") };
        let is_it =
            matches!(&error, Error::InUse { pod, claim } if pod == "stray" && claim == "data");
        assert!(is_it, "{error:?}");
        assert_eq!(server.patches("persistentvolumes"), Vec::<String>::new());
    }
    for (claim, phase) in [("data", "Succeeded"), ("other", "Running")] {
        pod(&server, claim, phase, Value::Null);
        server.fail_patches("persistentvolumes", vec![Fault::Status(409)]);
        assert!(matches!(handed_over(&server).await, Err(Error::Kube(_))));
    }
    let sent = server.patches("persistentvolumes");
    assert_eq!(sent.len(), 2);
    let body: Value = serde_json::from_str(&sent[0]).unwrap();
    assert_eq!(
        (&body["metadata"]["resourceVersion"], &body["spec"]["claimRef"]),
        (&json!("1"), &json!({"name": "data-web-0", "uid": "claim-new", "resourceVersion": null}))
    );
}
