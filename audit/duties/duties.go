package duties

import "fire/audit/entry"

// Duty is one demand of one rule.
type Duty struct {
	Rule     string       `json:"rule"`
	Asks     string       `json:"asks"`
	Kinds    []entry.Kind `json:"-"`
	Entries  []string     `json:"entries"`  // names of Kinds
	Commands []string     `json:"commands"` // that show it
	Gap      string       `json:"not_covered"`
}

// All are the duties, by rule.
func All() []Duty {
	all := []Duty{
		{Rule: "SEC 17a-4(f)(2)(i)(A)", Asks: "An audit trail of every modification and deletion, with date, time and actor, from which the original can be re-created.",
			Kinds:    []entry.Kind{entry.Message, entry.Part, entry.Admin, entry.Policy, entry.Floor, entry.Config, entry.Pruned, entry.Erased},
			Commands: []string{"fire audit verify", "fire audit search kind=admin", "fire audit trace"},
			Gap:      "The WORM alternative (B): files are ordinary ones. Content of tcp and http."},
		{Rule: "SEC 17a-4(f): verification", Asks: "Completeness and accuracy of what is stored are verified automatically.",
			Kinds: []entry.Kind{entry.Scrubbed, entry.Gap}, Commands: []string{"fire audit stat", "fire audit scrub", "fire audit verify"}, Gap: "nothing known"},
		{Rule: "SEC 17a-4(f): download", Asks: "A record and its audit trail can be downloaded in human-readable and electronic form.",
			Kinds: []entry.Kind{entry.Message, entry.Admin}, Commands: []string{"fire audit search", "fire audit trace", "fire audit prove"},
			Gap: "An examiner's folder with manifest and cover sheet."},
		{Rule: "SEC 17a-4(f): redundancy", Asks: "A backup system with redundancy.", Kinds: []entry.Kind{entry.Evidence}, Commands: []string{"fire audit stat"},
			Gap: "Logs are not copied to another host or region; control keeps their heads alone."},
		{Rule: "SEC 17a-4(a), (b); FINRA 4511", Asks: "Six and three years, the first two easily accessible; longer under a hold.",
			Kinds: []entry.Kind{entry.Hold, entry.Pruned}, Commands: []string{"fire audit hold ls", "fire audit stat"}, Gap: "Access by a designated officer is the operating system's."},
		{Rule: "FINRA 4590", Asks: "Clocks within 50 ms of NIST; a log of synchronisation and of every breach.",
			Kinds: []entry.Kind{entry.Clock, entry.Drift, entry.Step}, Commands: []string{"fire audit clock --class finra-50ms"}, Gap: "Clocks of other machines than those that run fire."},
		{Rule: "FINRA 6820, 6860 (CAT)", Asks: "Order events with times as fine as captured, linked from order to execution.",
			Kinds: []entry.Kind{entry.Message}, Commands: []string{"fire audit trace", "fire audit search"}, Gap: "CAT's own report form and its submission."},
		{Rule: "MiFID II RTS 25", Asks: "100 us, 1 ms or 1 s from UTC; traceability, and where the stamp is applied.",
			Kinds: []entry.Kind{entry.Clock, entry.Drift, entry.Step}, Commands: []string{"fire audit clock"}, Gap: "From the wire to the stamp; the yearly review."},
		{Rule: "MiFID II RTS 24", Asks: "Order data on request, each change of an order in sequence.",
			Kinds: []entry.Kind{entry.Message}, Commands: []string{"fire audit trace", "fire audit search"}, Gap: "The annex's table form; fields that FIX messages do not have."},
		{Rule: "MiFID II RTS 6, Art. 28", Asks: "Each order recorded immediately after submission, kept five years.",
			Kinds: []entry.Kind{entry.Message, entry.Gap}, Commands: []string{"fire audit trace", "fire audit stat"}, Gap: "Algorithm and trader, where the messages do not name them."},
		{Rule: "MiFID II RTS 6, Art. 12", Asks: "All unexecuted orders can be cancelled at once.", Kinds: []entry.Kind{entry.Kill, entry.Admin}, Commands: []string{"fire audit search kind=kill"},
			Gap: "Cancelling orders: fire cuts connections and channels, and records that."},
		{Rule: "MiFID II RTS 6, Art. 15; RTS 7, Art. 20", Asks: "Limits before trade; monitoring within five seconds.", Kinds: []entry.Kind{entry.Refused}, Commands: []string{"fire audit search kind=refused"},
			Gap: "Limits on orders: rules are on connections and requests."},
		{Rule: "DORA Art. 17(2); RTS 2024/1774 Art. 12", Asks: "Logs protected against change and deletion; failure of the logging detected; clocks on a documented reference.",
			Kinds:    []entry.Kind{entry.Gap, entry.Evidence, entry.Log, entry.Clock, entry.Login},
			Commands: []string{"fire audit verify", "fire audit stat", "fire audit clock"}, Gap: "Incidents as such, and their classification."},
		{Rule: "Reg SCI 1001, 1004", Asks: "Resumption within two hours, drills, geographically diverse backup.", Kinds: []entry.Kind{entry.Failover}, Commands: []string{"fire audit search kind=failover"},
			Gap: "Drills and plans; copies in another region."},
		{Rule: "GDPR Art. 17", Asks: "Personal data is erased on request, unless the law demands to keep it.", Kinds: []entry.Kind{entry.Erased, entry.Hold}, Commands: []string{"fire audit erase", "fire audit hold ls"},
			Gap: "Personal values outside of FIX; backups of keys made before."},
		{Rule: "MAR Art. 16(2)", Asks: "Every order placed, changed and cancelled can be analysed; reasons are kept five years.", Kinds: []entry.Kind{entry.Message}, Commands: []string{"fire audit search", "fire audit trace"},
			Gap: "The analysis, and why it was or was not reported."},
	}
	for i := range all {
		for _, k := range all[i].Kinds {
			all[i].Entries = append(all[i].Entries, k.String())
		}
	}
	return all
}
