// What go-spiffe decides on inputs of Culvert's own: reads them as JSON, writes the verdicts as JSON.
//
// GoSPIFFETests makes the inputs from our tables and compares: build this and set CULVERT_GO_SPIFFE to it to find the verdicts
// anew; the committed ones are in verdicts.json.
package main

import (
	"crypto/x509"
	"encoding/json"
	"os"
	"runtime/debug"
	"sort"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

type inputs struct {
	IDs     [][]byte
	Bundles []struct {
		Name string
		Text []byte
	}
	Chains []struct {
		Name    string
		Now     int64
		Bundles []struct {
			Domain string
			Roots  [][]byte
		}
		Chain [][]byte
	}
}

type verdicts struct {
	// Of the packages: a git revision, where the build does not know a version.
	Version string `json:"version"`
	// The accepted ones, sorted, and how many there were.
	IDs     []string `json:"ids"`
	IDCount int      `json:"idCount"`
	// How many X.509 authorities were read; -1: refused.
	Bundles map[string]int `json:"bundles"`
	// The SPIFFE ID; empty: refused.
	Chains map[string]string `json:"chains"`
}

func main() {
	var in inputs
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		panic(err)
	}
	out := verdicts{Version: version(), IDCount: len(in.IDs), Bundles: map[string]int{}, Chains: map[string]string{}}
	accepted := map[string]bool{}
	for _, text := range in.IDs {
		if _, err := spiffeid.FromString(string(text)); err == nil {
			accepted[string(text)] = true
		}
	}
	for text := range accepted {
		out.IDs = append(out.IDs, text)
	}
	sort.Strings(out.IDs)
	for _, document := range in.Bundles {
		out.Bundles[document.Name] = -1
		bundle, err := spiffebundle.Parse(spiffeid.RequireTrustDomainFromString("td.test"), document.Text)
		if err == nil {
			out.Bundles[document.Name] = len(bundle.X509Authorities())
		}
	}
	for _, one := range in.Chains {
		set := x509bundle.NewSet()
		for _, given := range one.Bundles {
			bundle := x509bundle.New(spiffeid.RequireTrustDomainFromString(given.Domain))
			for _, der := range given.Roots {
				if root, err := x509.ParseCertificate(der); err == nil {
					bundle.AddX509Authority(root)
				}
			}
			set.Add(bundle)
		}
		out.Chains[one.Name] = ""
		id, _, err := x509svid.ParseAndVerify(one.Chain, set, x509svid.WithTime(time.Unix(one.Now, 0)))
		if err == nil {
			out.Chains[one.Name] = id.String()
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(out); err != nil {
		panic(err)
	}
}

func version() string {
	if given := os.Getenv("GO_SPIFFE_VERSION"); given != "" {
		return given
	}
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/spiffe/go-spiffe/v2" {
			return module.Version
		}
	}
	return "unknown"
}
