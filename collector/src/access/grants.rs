//! What a token is good for: scopes, each for the topics of some patterns.
//!
//! Pure. Names of groups and queues are asked for as topics are: who has `web-*` has the groups and queues of such names, too.

use skidway_record::TopicName;
use skidway_wire::access::{Grant, Scope};

/// Begins the names of our own topics.
const INTERNAL: &str = "__";

/// Matches every name.
pub const ALL: &str = "*";

/// Bounds the scopes of a token, and the patterns of each.
pub const GRANTS_MAX: usize = 16;

/// Bounds the patterns of a scope.
pub const PATTERNS_MAX: usize = 64;

/// Holds what a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Keeps grants that were checked.
    pub fn new(grants: Vec<Grant>) -> Self {
        Self(grants)
    }

    /// Checks what somebody asks for: every scope but `metrics` and `admin` says for which topics; `admin` is for all unless it says less.
    ///
    /// # Errors
    /// In words, what is wrong.
    pub fn checked(mut grants: Vec<Grant>) -> Result<Self, String> {
        if grants.is_empty() || grants.len() > GRANTS_MAX {
            return Err(format!("1 to {GRANTS_MAX} scopes"));
        }
        for grant in &mut grants {
            match grant.scope {
                Scope::Metrics if !grant.topics.is_empty() => return Err("metrics has no topics".to_owned()),
                Scope::Metrics => {}
                Scope::Admin if grant.topics.is_empty() => grant.topics = vec![ALL.to_owned()],
                _ => {}
            }
            if grant.topics.is_empty() && grant.scope != Scope::Metrics {
                return Err(format!("{} for which topics? Patterns such as web-*, or * for all", grant.scope.name()));
            }
            check_patterns(&grant.topics)?;
        }
        Ok(Self(grants))
    }

    /// Gives them.
    pub fn list(&self) -> &[Grant] {
        &self.0
    }

    /// Tells whether a scope is among them, for whatever topics.
    pub fn has(&self, scope: Scope) -> bool {
        self.0.iter().any(|grant| grant.scope == scope)
    }

    /// Tells whether everything is allowed, our own topics and all tokens included.
    pub fn is_everything(&self) -> bool {
        self.0.iter().any(|grant| grant.scope == Scope::Admin && grant.topics.iter().any(|pattern| pattern == ALL))
    }

    /// Tells whether something may be done with a topic, group or queue. Our own topics are for who may do everything, and may be read by whose
    /// scope names them in full.
    pub fn allow(&self, scope: Scope, name: &str) -> bool {
        self.allow_all(scope, name)
    }

    /// Tells whether something may be done with all that a pattern, or a name, can ever match.
    pub fn allow_all(&self, scope: Scope, pattern: &str) -> bool {
        if pattern.starts_with(INTERNAL) {
            return self.is_everything() || (scope == Scope::Consume && self.names(pattern));
        }
        self.patterns(scope).any(|own| covers(own.as_bytes(), pattern.as_bytes()))
    }

    /// Tells whether anything at all may be done with a topic.
    pub fn sees(&self, name: &TopicName) -> bool {
        if name.is_internal() {
            return self.is_everything() || self.names(name.as_str());
        }
        self.0.iter().flat_map(|grant| &grant.topics).any(|pattern| name.matches(pattern))
    }

    /// Tells whether this topic may be read because a scope has its very name.
    fn names(&self, topic: &str) -> bool {
        !topic.contains(['*', '?']) && self.patterns(Scope::Consume).any(|own| own == topic)
    }

    /// Tells whether a topic is one of those that quotas count: what the token may write to.
    pub fn counts(&self, name: &TopicName) -> bool {
        let writes = |grant: &&Grant| matches!(grant.scope, Scope::Produce | Scope::Commit | Scope::Admin);
        let patterns = self.0.iter().filter(writes).flat_map(|grant| &grant.topics);
        !name.is_internal() && { patterns }.any(|pattern| name.matches(pattern))
    }

    /// Gives the patterns of a scope. An administrator may produce and consume, but ships for no agent.
    fn patterns(&self, scope: Scope) -> impl Iterator<Item = &String> {
        let holds = move |grant: &&Grant| {
            grant.scope == scope || (grant.scope == Scope::Admin && matches!(scope, Scope::Produce | Scope::Consume))
        };
        self.0.iter().filter(holds).flat_map(|grant| &grant.topics)
    }

    /// Says what they are, for whoever was refused: `consume on web-*; metrics`.
    pub fn words(&self) -> String {
        let words = |grant: &Grant| match grant.topics.is_empty() {
            true => grant.scope.name().to_owned(),
            false => format!("{} on {}", grant.scope.name(), grant.topics.join(", ")),
        };
        self.0.iter().map(words).collect::<Vec<_>>().join("; ")
    }
}

/// Checks patterns of topics.
///
/// # Errors
/// In words, what is wrong.
pub fn check_patterns(patterns: &[String]) -> Result<(), String> {
    if patterns.len() > PATTERNS_MAX {
        return Err(format!("at most {PATTERNS_MAX} patterns"));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*?".contains(&byte);
    match patterns.iter().find(|it| it.is_empty() || it.len() > 249 || !it.bytes().all(allowed)) {
        Some(bad) => Err(format!("{bad:?} is no pattern of topics: letters, digits, `.`, `_`, `-`, `*` and `?`")),
        None => Ok(()),
    }
}

/// Tells whether all names that `asked` can match are matched by `own`, too. `asked` is read as a text in which only a `*` of `own` stands for a
/// `*`, so that it may say no where a cleverer proof would say yes, and never yes where it is no.
pub fn covers(own: &[u8], asked: &[u8]) -> bool {
    let (mut o, mut a) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while a < asked.len() {
        match own.get(o) {
            Some(b'*') => {
                last_star = Some((o, a));
                o += 1;
            }
            Some(&c) if c == asked[a] || (c == b'?' && asked[a] != b'*') => (o, a) = (o + 1, a + 1),
            _ => {
                let Some((star, taken)) = last_star else { return false };
                last_star = Some((star, taken + 1));
                (o, a) = (star + 1, taken + 1);
            }
        }
    }
    own[o..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(list: &[(Scope, &[&str])]) -> Grants {
        let grant = |(scope, topics): &(Scope, &[&str])| Grant {
            scope: *scope,
            topics: topics.iter().map(|it| (*it).to_owned()).collect(),
        };
        Grants::checked(list.iter().map(grant).collect()).unwrap()
    }

    #[test]
    fn a_pattern_covers_what_it_matches_whatever_the_other_one_stands_for() {
        for (own, asked, expected) in [
            ("web-*", "web-a", true),
            ("web-*", "web-", true),
            ("web-*", "web", false),
            ("web-*", "web-*", true),
            ("web-*", "web-a*b?", true),
            ("web-*", "*", false),
            ("web-*", "web*", false),
            ("web-*", "?eb-a", false),
            ("web-?", "web-*", false),
            ("web-?", "web-?", true),
            ("*", "*", true),
            ("*-a", "b*-a", true),
            ("*-a", "b-*", false),
            ("a*b*c", "a*bc", true),
            ("a", "a", true),
            ("a", "", false),
        ] {
            assert_eq!(covers(own.as_bytes(), asked.as_bytes()), expected, "{own} covers {asked}");
        }
    }

    #[test]
    fn a_scope_holds_for_its_own_topics_alone() {
        let own = grants(&[(Scope::Consume, &["web-*"]), (Scope::Produce, &["out"])]);
        assert!(own.allow(Scope::Consume, "web-a") && own.allow(Scope::Produce, "out"));
        for (scope, name) in [
            (Scope::Produce, "web-a"),
            (Scope::Consume, "out"),
            (Scope::Consume, "db"),
            (Scope::Admin, "web-a"),
            (Scope::Consume, "__skidway.events"),
        ] {
            assert!(!own.allow(scope, name), "{scope:?} {name}");
        }
        assert!(!own.is_everything() && !own.has(Scope::Commit));
        assert_eq!(own.words(), "consume on web-*; produce on out");
    }

    #[test]
    fn an_administrator_of_some_topics_is_not_one_of_all() {
        let (some, all) = (grants(&[(Scope::Admin, &["web-*"])]), grants(&[(Scope::Admin, &[])]));
        assert!(some.allow(Scope::Consume, "web-a") && some.allow(Scope::Admin, "web-a") && !some.is_everything());
        assert!(!some.allow(Scope::Admin, "db") && !some.allow(Scope::Consume, "__skidway.audit"));
        assert!(all.is_everything() && all.allow(Scope::Consume, "__skidway.audit") && all.allow(Scope::Produce, "x"));
        assert!(!all.allow(Scope::Commit, "x"), "who administers ships for no agent");
    }

    #[test]
    fn our_own_topics_are_read_by_who_has_their_very_name_and_nothing_else_is_done_with_them() {
        let own = grants(&[
            (Scope::Consume, &["*", "__skidway.events", "__skidway.s*"]),
            (Scope::Produce, &["__skidway.events"]),
        ]);
        assert!(own.allow(Scope::Consume, "__skidway.events"));
        assert!(own.sees(&TopicName::new("__skidway.events").unwrap()));
        for name in ["__skidway.audit", "__skidway.sinks", "__skidway.s*", "__*"] {
            assert!(!own.allow(Scope::Consume, name), "{name}");
        }
        assert!(!own.allow(Scope::Produce, "__skidway.events") && !own.allow(Scope::Admin, "__skidway.events"));
    }

    #[test]
    fn scopes_without_topics_and_strange_patterns_are_refused() {
        let grant = |scope, topics: &[&str]| Grant { scope, topics: topics.iter().map(|it| (*it).into()).collect() };
        for bad in [
            vec![],
            vec![grant(Scope::Produce, &[])],
            vec![grant(Scope::Metrics, &["a"])],
            vec![grant(Scope::Consume, &["a/b"])],
            vec![grant(Scope::Consume, &[""])],
            vec![grant(Scope::Metrics, &[]); GRANTS_MAX + 1],
        ] {
            assert!(Grants::checked(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
