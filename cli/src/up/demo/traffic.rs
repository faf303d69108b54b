//! The visitors of an imaginary shop, as its access log sees them. Pure: the same seed and times give the same lines.
//!
//! Visitors come, look at a few pages with one address and one browser, and go. Some are crawlers, a few look for holes,
//! most requests succeed. Traffic is low at night and high in the afternoon, and never even.

use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Zoned;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Lines a second, over a whole day.
const RATE_MEAN: f64 = 20.0;
/// Visitors who are in the shop at a time.
const VISITORS: usize = 40;

const PRODUCTS: [&str; 12] =
    ["axe", "saw", "cant-hook", "peavey", "log-tongs", "chain", "wedge", "froe", "adze", "gloves", "boots", "helmet"];
const SECTIONS: [&str; 6] = ["tools", "clothing", "sale", "new", "rental", "spare-parts"];
const ASSETS: [&str; 6] = ["app.js", "app.css", "logo.svg", "fonts/inter.woff2", "img/hero.webp", "img/sprite.png"];
const PROBES: [&str; 6] =
    ["/wp-login.php", "/.env", "/.git/config", "/phpmyadmin/index.php", "/cgi-bin/luci", "/admin/.DS_Store"];
const REFERRERS: [&str; 5] = [
    "https://www.google.com/",
    "https://duckduckgo.com/",
    "https://news.ycombinator.com/",
    "https://www.bing.com/",
    "https://forestry.example/forum/thread/1834",
];
const BROWSERS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
];
const CRAWLERS: [&str; 3] = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
];
const SCANNERS: [&str; 2] = ["python-requests/2.32.3", "Go-http-client/1.1"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Shopper,
    Crawler,
    Scanner,
}

#[derive(Debug)]
struct Visitor {
    address: Ipv4Addr,
    manner: Manner,
    agent: &'static str,
    user: Option<String>,
    referrer: String,
    requests_left: u32,
}

#[derive(Debug)]
struct Request {
    method: &'static str,
    path: String,
    status: u16,
    bytes: u32,
}

/// Makes the lines of an access log, one after the other.
#[derive(Debug)]
pub(super) struct Traffic {
    dice: StdRng,
    visitors: Vec<Visitor>,
    popularity: WeightedIndex<f64>,
}

impl Traffic {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let visitors = (0..VISITORS).map(|_| Visitor::arrives(&mut dice)).collect();
        let ranks = (1..=PRODUCTS.len()).map(|rank| 1.0 / rank as f64);
        let popularity = WeightedIndex::new(ranks).expect("every weight is positive");
        Self { dice, visitors, popularity }
    }

    /// Gives the next line, in the "combined" format, without its line end.
    pub(super) fn line(&mut self, now: &Zoned) -> String {
        let index = self.dice.random_range(0..self.visitors.len());
        let request = self.request(index);
        let visitor = &mut self.visitors[index];
        let line = format!(
            "{} - {} [{}] \"{} {} HTTP/1.1\" {} {} \"{}\" \"{}\"",
            visitor.address,
            visitor.user.as_deref().unwrap_or("-"),
            now.strftime("%d/%b/%Y:%H:%M:%S %z"),
            request.method,
            request.path,
            request.status,
            request.bytes,
            visitor.referrer,
            visitor.agent,
        );
        visitor.referrer = format!("https://skidway.example{}", request.path);
        visitor.requests_left -= 1;
        if visitor.requests_left == 0 {
            *visitor = Visitor::arrives(&mut self.dice);
        }
        line
    }

    /// Gives the time until the next line: random, shorter in the afternoon than at night.
    pub(super) fn pause(&mut self, now: &Zoned) -> Duration {
        let hour = f64::from(now.hour()) + f64::from(now.minute()) / 60.0;
        let day = 1.0 + 0.4 * ((hour - 9.0) / 24.0 * std::f64::consts::TAU).sin();
        let luck: f64 = self.dice.random_range(f64::EPSILON..1.0);
        Duration::from_secs_f64((-luck.ln() / (RATE_MEAN * day)).min(2.0))
    }

    fn request(&mut self, index: usize) -> Request {
        match self.visitors[index].manner {
            Manner::Shopper => self.shopping(self.visitors[index].user.is_some()),
            Manner::Crawler => self.page(),
            Manner::Scanner => {
                let path = (*PROBES.choose(&mut self.dice).expect("there are probes")).to_owned();
                Request { method: "GET", path, status: 404, bytes: 153 }
            }
        }
    }

    fn shopping(&mut self, signed_in: bool) -> Request {
        match self.dice.random_range(0..100) {
            0..45 => self.page(),
            45..80 => self.asset(),
            80..90 => self.search(),
            90..94 => Request { method: "POST", path: "/cart/items".to_owned(), ..self.outcome(201, 180..400) },
            94..96 if signed_in => Request { method: "POST", path: "/checkout".to_owned(), ..self.outcome(303, 0..1) },
            _ => self.api(),
        }
    }

    fn page(&mut self) -> Request {
        let path = match self.dice.random_range(0..10) {
            0..2 => "/".to_owned(),
            2..5 => format!("/{}/", SECTIONS.choose(&mut self.dice).expect("there are sections")),
            _ => format!("/product/{}-{}", self.product(), self.dice.random_range(1_000..1_400)),
        };
        Request { method: "GET", path, ..self.outcome(200, 4_000..60_000) }
    }

    fn asset(&mut self) -> Request {
        let path = format!("/assets/{}", ASSETS.choose(&mut self.dice).expect("there are assets"));
        if self.dice.random_bool(0.4) {
            return Request { method: "GET", path, status: 304, bytes: 0 };
        }
        Request { method: "GET", path, ..self.outcome(200, 800..400_000) }
    }

    fn search(&mut self) -> Request {
        let path = format!("/search?q={}&page={}", self.product(), self.dice.random_range(1..4));
        Request { method: "GET", path, ..self.outcome(200, 6_000..30_000) }
    }

    fn api(&mut self) -> Request {
        let path = format!("/api/v2/stock/{}?store={}", self.product(), self.dice.random_range(1..30));
        Request { method: "GET", path, ..self.outcome(200, 90..600) }
    }

    /// Lets most requests succeed, and some fail as they do.
    fn outcome(&mut self, success: u16, bytes: std::ops::Range<u32>) -> Request {
        let (status, bytes) = match self.dice.random_range(0..1_000) {
            0..4 => (500, 1_024..1_025),
            4..7 => (502, 157..158),
            7..10 => (503, 190..191),
            10..25 => (404, 3_100..3_400),
            25..40 => (301, 169..170),
            40..46 => (403, 555..556),
            46..50 => (429, 162..163),
            _ => (success, bytes),
        };
        Request { method: "GET", path: String::new(), status, bytes: self.dice.random_range(bytes) }
    }

    fn product(&mut self) -> &'static str {
        PRODUCTS[self.popularity.sample(&mut self.dice)]
    }
}

impl Visitor {
    fn arrives(dice: &mut StdRng) -> Self {
        let (manner, agents, requests): (_, &[&str], _) = match dice.random_range(0..100) {
            0..85 => (Manner::Shopper, &BROWSERS, 3..40),
            85..97 => (Manner::Crawler, &CRAWLERS, 20..200),
            _ => (Manner::Scanner, &SCANNERS, 5..30),
        };
        let signed_in = manner == Manner::Shopper && dice.random_bool(0.2);
        let sent_here = manner == Manner::Shopper && dice.random_bool(0.6);
        let referrer = if sent_here { REFERRERS.choose(dice).copied().unwrap_or("-") } else { "-" };
        Self {
            address: public_address(dice),
            manner,
            agent: agents.choose(dice).copied().expect("there are browsers of every kind"),
            user: signed_in.then(|| format!("user{}", dice.random_range(1..2_000))),
            referrer: referrer.to_owned(),
            requests_left: dice.random_range(requests),
        }
    }
}

/// Gives an address that could be a visitor's, from the three networks reserved for documentation.
fn public_address(dice: &mut StdRng) -> Ipv4Addr {
    let [a, b, c] = *[[192, 0, 2], [198, 51, 100], [203, 0, 113]].choose(dice).expect("there are three");
    Ipv4Addr::new(a, b, c, dice.random_range(1..255))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_lines() {
        let now = at("2026-01-02T15:04:05+00:00[UTC]");
        let lines = |seed| {
            let mut traffic = Traffic::new(seed);
            (0..100).map(|_| traffic.line(&now)).collect::<Vec<_>>()
        };
        assert_eq!(lines(7), lines(7));
        assert_ne!(lines(7), lines(8));
    }

    #[test]
    fn lines_are_in_the_combined_format_and_differ() {
        let now = at("2026-01-02T15:04:05+00:00[UTC]");
        let mut traffic = Traffic::new(1);
        let mut statuses = BTreeMap::<String, u32>::new();
        for _ in 0..5_000 {
            let line = traffic.line(&now);
            let quoted: Vec<&str> = line.split('"').collect();
            assert_eq!(quoted.len(), 7, "{line}");
            assert!(quoted[0].ends_with(" [02/Jan/2026:15:04:05 +0000] "), "{line}");
            assert!(quoted[1].ends_with(" HTTP/1.1") && quoted[1].split(' ').count() == 3, "{line}");
            let status = quoted[2].split_whitespace().next().unwrap();
            *statuses.entry(status.to_owned()).or_default() += 1;
        }
        assert!(statuses["200"] > 2_500 && statuses.len() >= 8, "{statuses:?}");
    }

    #[test]
    fn afternoons_are_busier_than_nights() {
        let mean = |time| {
            let mut traffic = Traffic::new(3);
            let pauses: Duration = (0..2_000).map(|_| traffic.pause(&at(time))).sum();
            2_000.0 / pauses.as_secs_f64()
        };
        let (night, afternoon) = (mean("2026-01-02T03:00:00+00:00[UTC]"), mean("2026-01-02T15:00:00+00:00[UTC]"));
        assert!((10.0..16.0).contains(&night), "{night} lines/s at night");
        assert!((24.0..32.0).contains(&afternoon), "{afternoon} lines/s in the afternoon");
    }
}
