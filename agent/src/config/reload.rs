//! What a configuration that is read again changes in an agent that runs, and what waits for the next start. Pure.

use super::Config;

impl Config {
    /// Takes from `new` all that can change while the agent runs; gives that, and the keys that were changed but need a restart.
    pub fn reloaded(&self, mut new: Self) -> (Self, Vec<&'static str>) {
        let mut waiting = Vec::new();
        let (agent, collector) = (&mut new.agent, &mut new.collector);
        keep("agent.id", &self.agent.id, &mut agent.id, &mut waiting);
        keep("agent.state_dir", &self.agent.state_dir, &mut agent.state_dir, &mut waiting);
        keep("agent.admin_listen", &self.agent.admin_listen, &mut agent.admin_listen, &mut waiting);
        keep("agent.shutdown_timeout", &self.agent.shutdown_timeout, &mut agent.shutdown_timeout, &mut waiting);
        keep("collector.urls", &self.collector.urls, &mut collector.urls, &mut waiting);
        keep("collector.token_file", &self.collector.token_file, &mut collector.token_file, &mut waiting);
        keep(
            "collector.join_token_file",
            &self.collector.join_token_file,
            &mut collector.join_token_file,
            &mut waiting,
        );
        keep(
            "collector.request_timeout",
            &self.collector.request_timeout,
            &mut collector.request_timeout,
            &mut waiting,
        );
        keep("collector.on_new_log", &self.collector.on_new_log, &mut collector.on_new_log, &mut waiting);
        keep("collector.tls", &self.collector.tls, &mut collector.tls, &mut waiting);
        keep("log.format", &self.log.format, &mut new.log.format, &mut waiting);
        (new, waiting)
    }
}

fn keep<T: Clone + PartialEq>(key: &'static str, old: &T, new: &mut T, waiting: &mut Vec<&'static str>) {
    if old != new {
        new.clone_from(old);
        waiting.push(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Input;
    use std::time::Duration;

    #[test]
    fn what_needs_a_restart_is_named_and_stays_and_the_rest_changes() {
        let old = Config { inputs: vec![Input::new("a")], ..Config::default() };
        let mut new = Config { inputs: vec![Input::new("a"), Input::new("b")], ..old.clone() };
        assert_eq!(old.reloaded(new.clone()), (new.clone(), vec![]));
        new.agent.state_dir = "/elsewhere".into();
        new.agent.memory_bytes_max = 4 << 20;
        new.collector.tls.ca_file = Some("/ca.pem".into());
        new.collector.linger = Duration::from_millis(9);
        let (running, waiting) = old.reloaded(new.clone());
        assert_eq!(waiting, ["agent.state_dir", "collector.tls"]);
        assert_eq!((running.agent.state_dir, running.collector.tls), (old.agent.state_dir, old.collector.tls));
        assert_eq!((running.agent.memory_bytes_max, running.collector.linger), (4 << 20, Duration::from_millis(9)));
        assert_eq!(running.inputs, new.inputs);
    }
}
