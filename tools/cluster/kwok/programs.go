//go:build tools

// Package kwok names what `go mod tidy` shall keep: a program that is built and not imported.
package kwok

import _ "sigs.k8s.io/kwok/cmd/kwok"
