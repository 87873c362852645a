//! Starts contenders one after the other and takes the first that succeeds: a dead endpoint costs a head start,
//! never its timeout, and one that fails costs nothing.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

/// How long a contender runs before the next is started beside it.
pub(crate) const HEAD_START: Duration = Duration::from_millis(30);

/// A contender.
pub(crate) type Contender<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// The first success, or every failure in the order of the contenders. What still runs then is dropped.
pub(crate) async fn race<T, E>(
    contenders: Vec<Contender<'_, T, E>>,
    head_start: Duration,
) -> Result<T, Vec<E>> {
    let mut runners: Vec<Runner<'_, T, E>> = contenders.into_iter().map(Runner::Running).collect();
    let mut started = 0;
    loop {
        started += 1;
        if started >= runners.len() {
            let won = poll_fn(|context| advance(&mut runners, started, context)).await;
            return won.map_or_else(|| Err(failures(runners)), Ok);
        }
        let next_start = Instant::now() + head_start;
        let won = poll_fn(|context| advance(&mut runners, started, context));
        // Without a winner among the started ones, all of them have failed: the next starts at once.
        if let Ok(Some(won)) = tokio::time::timeout_at(next_start, won).await {
            return Ok(won);
        }
    }
}

enum Runner<'a, T, E> {
    Running(Contender<'a, T, E>),
    Failed(E),
}

/// Polls the first `started` contenders: the winner, or `None` when all of them have failed. A failure while others
/// still run also starts the next, which is why it counts as "all failed" when it is the youngest that failed.
fn advance<T, E>(
    runners: &mut [Runner<'_, T, E>],
    started: usize,
    context: &mut Context<'_>,
) -> Poll<Option<T>> {
    let everybody = started >= runners.len();
    let mut failed_now = false;
    let mut running = false;
    for runner in runners.iter_mut().take(started) {
        let Runner::Running(contender) = runner else { continue };
        match contender.as_mut().poll(context) {
            Poll::Ready(Ok(won)) => return Poll::Ready(Some(won)),
            Poll::Ready(Err(error)) => {
                *runner = Runner::Failed(error);
                failed_now = true;
            }
            Poll::Pending => running = true,
        }
    }
    if !running || (failed_now && !everybody) { Poll::Ready(None) } else { Poll::Pending }
}

fn failures<T, E>(runners: Vec<Runner<'_, T, E>>) -> Vec<E> {
    let failure = |runner| if let Runner::Failed(error) = runner { Some(error) } else { None };
    runners.into_iter().filter_map(failure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_secs(1000);

    fn contender(result: Option<Result<u32, u32>>) -> Contender<'static, u32, u32> {
        Box::pin(async move {
            match result {
                Some(result) => result,
                None => std::future::pending().await,
            }
        })
    }

    async fn run(results: &[Option<Result<u32, u32>>], head_start: Duration) -> Result<u32, Vec<u32>> {
        race(results.iter().copied().map(contender).collect(), head_start).await
    }

    #[tokio::test]
    async fn the_first_wins_where_it_succeeds() {
        assert_eq!(run(&[Some(Ok(1)), Some(Ok(2))], NEVER).await, Ok(1));
    }

    #[tokio::test]
    async fn a_failure_starts_the_next_at_once() {
        assert_eq!(run(&[Some(Err(1)), Some(Err(2)), Some(Ok(3))], NEVER).await, Ok(3));
    }

    #[tokio::test]
    async fn a_silent_one_costs_a_head_start() {
        assert_eq!(run(&[None, Some(Ok(2))], Duration::from_millis(1)).await, Ok(2));
    }

    #[tokio::test]
    async fn a_failure_beside_a_silent_one_starts_the_next_at_once() {
        let (send, failed) = tokio::sync::oneshot::channel::<u32>();
        let second = Box::pin(async move { Err(failed.await.unwrap_or(0)) });
        let first = Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            send.send(7).unwrap();
            std::future::pending().await
        });
        let contenders: Vec<Contender<'static, u32, u32>> =
            vec![first, second, contender(None), contender(Some(Ok(4)))];
        assert_eq!(race(contenders, Duration::from_millis(1)).await, Ok(4));
    }

    #[tokio::test]
    async fn all_failures_are_told_in_order() {
        assert_eq!(run(&[Some(Err(1)), Some(Err(2))], NEVER).await, Err(vec![1, 2]));
        assert_eq!(run(&[], NEVER).await, Err(vec![]));
    }
}
