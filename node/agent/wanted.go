package agent

import "fire/policy/id"

// Wanted is who this host is, or whom it will ask to be when it joins: what binds
// its sockets before the join needs the name.
func (a *Agent) Wanted() (id.Principal, error) {
	if a.Joined() {
		return a.Node(), nil
	}
	tok, err := a.token()
	if err != nil {
		return id.Principal{}, err
	}
	name, err := a.joinName(tok)
	if err != nil {
		return id.Principal{}, err
	}
	return tok.Domain.Node(name), nil
}
