//! What effects come to, as the real host and fleet would have it.

use super::*;

impl World {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        let broken = std::mem::take(&mut self.fail) || self.going_down;
        self.pass(Duration::from_millis(20));
        let event = match effect {
            Effect::Record { .. } => unreachable!("it is written at once"),
            Effect::Look => self.look(broken),
            Effect::Refresh => {
                let refreshed = self.act(UpdateAction::Refresh, broken).map(drop);
                self.hide();
                Event::Refreshed(refreshed)
            }
            Effect::Prepare => {
                self.may_prepare();
                Event::Prepared(self.act(UpdateAction::Prepare, broken))
            }
            Effect::Measure => Event::Measured(Baseline::default()),
            Effect::Count if broken => Event::Counted(fails("the count")),
            Effect::Count => Event::Counted(Ok(u64::from(self.up.subsec_nanos().is_multiple_of(3)))),
            Effect::Activate => {
                self.may_act(&Checkpoint::Activating);
                Event::Activated(self.act(UpdateAction::Activate, broken))
            }
            Effect::Deactivate => {
                self.may_deactivate();
                Event::Deactivated(self.act(UpdateAction::Deactivate, broken))
            }
            Effect::Reboot => {
                self.may_reboot();
                let broken = broken || self.api_dead;
                if !broken {
                    self.going_down = true;
                }
                Event::Rebooting(if broken { fails("the reboot") } else { Ok(()) })
            }
            Effect::Check(_) => {
                let ok = !self.sick && !self.api_dead && !self.bad.contains(&self.running()) && !broken;
                let check = Check { name: "workloads".into(), ok, found: "".into() };
                Event::Checked(Report { checks: vec![check] })
            }
            Effect::RollBack if broken => Event::RolledBack(fails("signpost")),
            Effect::RollBack => {
                self.may_roll_back();
                let mut disk = self.disk.lock().unwrap();
                Event::RolledBack(disk.roll_back().map(|()| disk.banks()).map_err(Arc::from))
            }
            Effect::Pin(_) if broken || self.api_dead => Event::Pinned(fails("the host")),
            Effect::Pin(to) => {
                self.may_pin(&to);
                self.version_lock = to;
                Event::Pinned(Ok(()))
            }
            Effect::Acquire | Effect::Release | Effect::Rule(..) | Effect::Report(_) | Effect::Reset(_) => {
                self.fleet_effect(effect, broken || self.fleet_down)
            }
        };
        self.event(event);
    }

    fn look(&mut self, broken: bool) -> Event {
        let failure = |why: &str| Failure { why: why.into(), unsupported: false, busy: false, partial: None };
        if self.one_bank {
            return Event::Looked(Err(Failure { unsupported: true, ..failure("one bank") }));
        }
        if self.api_dead {
            let partial = PartialFacts { boot: self.boot_id(), banks: self.disk.lock().unwrap().banks() };
            return Event::Looked(Err(Failure { partial: Some(partial), ..failure("failed") }));
        }
        if broken {
            return Event::Looked(Err(failure("failed")));
        }
        self.witness.looked = self.wall;
        if !self.fleet_down {
            self.witness.heard = self.fleet.lock().unwrap().words.len();
        }
        Event::Looked(Ok(Box::new(self.facts())))
    }

    fn fleet_effect(&mut self, effect: Effect, fleet_fails: bool) -> Event {
        match effect {
            Effect::Acquire => {
                let granted = self.fleet.lock().unwrap().acquire(self.node);
                // The answer may be lost though the lock is not.
                Event::Granted(match granted {
                    _ if fleet_fails => Err("the fleet failed".into()),
                    true => Ok(Grant::Granted),
                    false => Ok(Grant::Refused("others have it".into())),
                })
            }
            Effect::Release if fleet_fails => Event::Released(fails("the fleet")),
            Effect::Release => {
                self.may_release();
                self.fleet.lock().unwrap().holders.remove(self.node);
                Event::Released(Ok(()))
            }
            Effect::Rule(version, _) if fleet_fails => Event::Ruled(version, fails("the fleet")),
            Effect::Rule(version, ruling) => {
                self.fleet.lock().unwrap().rule(version.clone(), ruling);
                Event::Ruled(version, Ok(()))
            }
            Effect::Report(_) => Event::Reported(if fleet_fails { fails("the fleet") } else { Ok(()) }),
            Effect::Reset(_) => Event::BreakerReset(if fleet_fails { fails("the fleet") } else { Ok(()) }),
            effect => unreachable!("{effect:?} is no matter of the fleet"),
        }
    }

    pub(in super::super) fn facts(&mut self) -> Facts {
        let updates = self.updater.status(self.wall).ok().cloned();
        let banks = self.disk.lock().unwrap().banks();
        Facts {
            boot: self.boot_id(),
            running: self.running(),
            updates,
            banks,
            version_lock: Some(self.version_lock.clone()),
            seed: Some(7),
            board: if self.fleet_down {
                Err("the fleet is down".into())
            } else {
                Ok(self.fleet.lock().unwrap().board.clone())
            },
            ready: Ok(()),
        }
    }

    fn act(&mut self, action: UpdateAction, broken: bool) -> Result<Box<UpdateStatus>, Failure> {
        if self.api_dead {
            return Err(Failure { why: "the API is dead".into(), unsupported: false, busy: false, partial: None });
        }
        let failure = |why: String| Failure { why: why.into(), unsupported: false, busy: false, partial: None };
        self.updater
            .act(action, &self.version_lock, self.wall)
            .map_err(|refusal| Failure { busy: refusal == Refusal::Busy, ..failure(format!("{refusal:?}")) })?;
        self.pass(Duration::from_millis(1));
        let status = self.updater.status(self.wall).map_err(|refusal| failure(format!("{refusal:?}")))?;
        let command = status.most_recent_command.as_ref().expect("a command");
        // The answer may be lost though it was done.
        if broken || command.cmd_status != CommandOutcome::Success {
            return Err(failure(format!("{action:?} failed: {command:?}")));
        }
        Ok(Box::new(status.clone()))
    }
}

pub(in super::super) fn fails<T>(what: &str) -> Result<T, Arc<str>> {
    Err(format!("{what} failed").into())
}
