package cli

// tree is every verb. Help, completions and the manual page are made from it.
func tree() *verb {
	return &verb{
		name:  "fire",
		brief: "a service mesh for trading floors",
		about: `One program for all roles. Start with ` + "`fire dev`" + `: a whole mesh on this machine, with programs that trade over it and a live map. The verbs that inspect find the running process by themselves.`,
		verbs: []*verb{
			runVerb(), devVerb(), demoVerb(),
			statusVerb(), servicesVerb(), edgesVerb(), topVerb(), statVerb(), flowsVerb(), eventsVerb(), whyVerb(),
			applyVerb(), rollbackVerb(), policyVerb(), drainVerb(),
			channelVerb(), ringVerb(), auditVerb(),
			tokenVerb(), revokeVerb(), caVerb(),
			checkVerb(), explainVerb(), configVerb(), unitVerb(), benchVerb(),
			completionVerb(), manVerb(), versionVerb(),
		},
		examples: []example{
			{"fire dev", "try it: no file, no root"},
			{"fire run --config /etc/fire/mesh.toml", "a host of a real mesh"},
			{"fire status", "which nodes there are"},
			{"fire check", "what is wrong"},
		},
	}
}
