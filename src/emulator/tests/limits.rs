//! The request limits, in both forms of error.

use super::*;
use crate::emulator::Call;

const LIST: &str = "{ viewer { authentications { edges { cursor } } } }";

#[tokio::test]
async fn past_the_burst_rest_and_graphql_refuse_each_in_its_way() {
    // Nothing flows back into the bucket, so that a slow machine sees the same.
    let tray = Tray::limited(0, 5, 1800).await;
    for _ in 0..5 {
        assert_eq!(tray.get(&tray.api_user(), "/core/v1/workspaces").await.status, StatusCode::OK);
    }
    let refused = tray.get(&tray.api_user(), "/core/v1/workspaces").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.json()["message"].is_string());
    let named = |header: &str| header == "retry-after" || header.starts_with("ratelimit");
    assert!(!refused.headers.keys().any(|header| named(header.as_str())));

    let refused = tray.graphql(&tray.api_user(), LIST, json!({})).await;
    assert_eq!(refused.status, StatusCode::OK);
    let answer = refused.json();
    assert_eq!(answer["errors"][0]["message"], "Rate limit exceeded");
    assert_eq!(refused.graphql_error(), ("PreconditionError".to_owned(), Some("access_not_allowed".to_owned())));
    assert_eq!(tray.world().limit_rejections(), 2);
    assert_eq!(tray.world().requests(Call::ListWorkspaces), 6);
}

#[tokio::test]
async fn sixty_at_once_are_cut_to_the_burst() {
    let tray = Tray::limited(0, 50, 1800).await;
    let mut refused = 0;
    for _ in 0..60 {
        let status = tray.get(&tray.api_user(), "/core/v1/workspaces").await.status;
        refused += u32::from(status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(refused, 10);
}

#[tokio::test]
async fn the_minute_counts_rest_and_graphql_together() {
    let tray = Tray::limited(1000, 1000, 4).await;
    for _ in 0..2 {
        assert_eq!(tray.get(&tray.api_user(), "/core/v1/workspaces").await.status, StatusCode::OK);
        assert!(tray.graphql(&tray.api_user(), LIST, json!({})).await.json().get("errors").is_none());
    }
    assert_eq!(tray.get(&tray.api_user(), "/core/v1/workspaces").await.status, StatusCode::TOO_MANY_REQUESTS);
    tray.world().set_limit(None);
    assert_eq!(tray.get(&tray.api_user(), "/core/v1/workspaces").await.status, StatusCode::OK);
}
