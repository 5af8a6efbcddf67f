//! Asks the API server for the rights of a writer.

use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};

use crate::{
    core::judge::{Right, Rights, User},
    shell::errors::{Error, within},
};

/// Whether a user has each of these rights. It is what an admission policy that asks its authorizer
/// is answered: a user whose rights cannot be evaluated does not have them.
///
/// # Errors
/// When the API server gives no answer.
pub async fn of(client: &Client, user: &User, rights: Vec<Right>) -> Result<Rights, Error> {
    let reviews = Api::<SubjectAccessReview>::all(client.clone());
    let answers = rights.into_iter().map(async |right| {
        let review = review(user, &right);
        let answer = within(reviews.create(&PostParams::default(), &review)).await?;
        Ok((right, answer.status.is_some_and(|status| status.allowed)))
    });
    try_join_all(answers).await.map(Rights::from_iter)
}

fn review(user: &User, right: &Right) -> SubjectAccessReview {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let extra = (!user.extra.is_empty()).then(|| user.extra.clone());
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: some(&user.username),
            uid: some(&user.uid),
            groups: Some(user.groups.clone()),
            extra,
            resource_attributes: Some(ResourceAttributes {
                verb: some(&right.verb),
                group: some(&right.group),
                version: Some("*".to_owned()),
                resource: some(&right.resource),
                namespace: some(&right.namespace),
                name: some(&right.name),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}
