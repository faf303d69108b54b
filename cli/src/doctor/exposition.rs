//! Metrics as Prometheus scrapes them, read. Knows no metric by name.

/// Holds the samples of one scrape.
#[derive(Debug, Default)]
pub struct Exposition(Vec<Sample>);

#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

impl Exposition {
    /// Reads the text format; what it makes no sense of is left out.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// Gives the first sample of a name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|sample| sample.name == name).map(|sample| sample.value)
    }

    /// Sums the samples of a name.
    pub fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
    }

    /// Gives the values of a name by those of a label.
    pub fn by<'a>(&'a self, name: &'a str, label: &str) -> impl Iterator<Item = (&'a str, f64)> {
        let before = format!("{label}=\"");
        self.0.iter().filter(move |sample| sample.name == name).filter_map(move |sample| {
            let after = sample.labels.split_once(&before)?.1;
            Some((after.split_once('"')?.0, sample.value))
        })
    }

    /// Tells the share of a histogram's observations that were at most `bound`; `None` if there were none.
    pub fn share_within(&self, name: &str, bound: &str) -> Option<f64> {
        let all = self.value(&format!("{name}_count")).filter(|all| *all > 0.0)?;
        let within = self.by(&format!("{name}_bucket"), "le").find(|(le, _)| *le == bound)?.1;
        Some(within / all)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.trim().rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let value = match value {
        "+Inf" => f64::INFINITY,
        other => other.parse().ok()?,
    };
    Some(Sample { name: name.to_owned(), labels: labels.trim_end_matches('}').to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_label() {
        let text = "# TYPE a counter\na{kind=\"x y\",fate=\"retry\"} 2\na{kind=\"z\"} 3\nb 0.5\nc +Inf\nnonsense\n\
            h_bucket{le=\"0.25\"} 90\nh_bucket{le=\"+Inf\"} 100\nh_count 100\n";
        let read = Exposition::parse(text);
        assert_eq!(read.by("a", "kind").collect::<Vec<_>>(), [("x y", 2.0), ("z", 3.0)]);
        assert_eq!((read.sum("a"), read.value("b"), read.value("c")), (5.0, Some(0.5), Some(f64::INFINITY)));
        assert_eq!(
            (read.value("d"), read.share_within("h", "0.25"), read.share_within("a", "1")),
            (None, Some(0.9), None)
        );
    }
}
