package node

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"fire/node/demo"
)

// devAddresses gives the floor's programs and doors their addresses. The usual
// ports are kept while all of them are free, so that they can be learnt by heart;
// else, or when free is set, every one gets a free port.
func devAddresses(specs []demo.Spec, free bool) ([]demo.Spec, error) {
	out := slices.Clone(specs)
	var addresses []*string
	for i := range out {
		out[i].Upstreams = slices.Clone(out[i].Upstreams)
		if out[i].Listen != "" {
			addresses = append(addresses, &out[i].Listen)
		}
		for j := range out[i].Upstreams {
			addresses = append(addresses, &out[i].Upstreams[j].Address)
		}
	}
	if !free && reserve(addresses, false) == nil {
		return out, nil
	}
	return out, reserve(addresses, true)
}

// reserve binds every address at once, so that no two get one port, and gives them
// back; with anyPort it writes the ports that the system chose.
func reserve(addresses []*string, anyPort bool) (err error) {
	var held []net.Listener
	defer func() {
		for _, ln := range held {
			err = errors.Join(err, ln.Close())
		}
	}()
	for _, a := range addresses {
		want := *a
		if anyPort {
			host, _, err := net.SplitHostPort(want)
			if err != nil {
				return err
			}
			want = net.JoinHostPort(host, "0")
		}
		ln, err := net.Listen("tcp", want)
		if err != nil {
			return fmt.Errorf("the floor's address %s: %w", want, err)
		}
		held = append(held, ln)
		if anyPort {
			*a = ln.Addr().String()
		}
	}
	return nil
}
