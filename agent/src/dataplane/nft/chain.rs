//! Chains and rules of the skeleton, and their encoding.

use super::abi::{chain, comment, msg, rule};
use super::expr::Expr;
use super::table::push;
use crate::dataplane::netlink::{Batch, wire};
use crate::model::Family;

/// Where a chain is hooked in: its type, and `NF_INET_*` hook and `NF_IP_PRI_*` priority (linux/netfilter.h,
/// linux/netfilter_ipv4.h).
pub(super) type Hook = (&'static str, u32, i32);

/// A chain. Without a hook, packets only come to it from others.
pub(super) struct Chain {
    pub(super) name: String,
    pub(super) hook: Option<Hook>,
    pub(super) rules: Vec<Rule>,
}

/// A rule. Its comment says what it is for, to people and to an agent that finds it.
pub(super) struct Rule {
    pub(super) comment: &'static str,
    pub(super) expressions: Vec<Expr>,
}

impl Chain {
    /// A chain that packets enter by.
    pub(super) fn entrance(name: &str, hook: Hook, rules: Vec<Rule>) -> Self {
        Self { name: name.to_owned(), hook: Some(hook), rules }
    }

    /// Adds the chain to the table, without its rules.
    pub(super) fn write(&self, batch: &mut Batch, family: Family) {
        push(batch, family, msg::NEWCHAIN, wire::CREATE | wire::EXCL, |w| {
            w.text(chain::NAME, &self.name);
            if let Some((kind, hook, priority)) = self.hook {
                w.nest(chain::HOOK, |w| {
                    w.be32(chain::HOOKNUM, hook);
                    w.be32(chain::PRIORITY, priority.cast_unsigned());
                });
                w.be32(chain::POLICY, chain::ACCEPT);
                w.text(chain::TYPE, kind);
            }
        });
    }

    /// Adds its rules, when every chain is there that they go to.
    pub(super) fn write_rules(&self, batch: &mut Batch, family: Family) {
        for one in &self.rules {
            push(batch, family, msg::NEWRULE, wire::CREATE | wire::APPEND, |w| {
                w.text(rule::CHAIN, &self.name);
                w.nest(rule::EXPRESSIONS, |w| one.expressions.iter().for_each(|expr| expr.write(w)));
                w.attr(rule::USERDATA, &comment::encode(comment::PLAIN, one.comment));
            });
        }
    }
}
