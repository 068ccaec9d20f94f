package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/replicante-io/playbooks/store"
)

// Labels and codes of MongoDB's errors (src/mongo/base/error_codes.yml; the transactions and retryable writes
// specifications of drivers).
const (
	labelTransient = "TransientTransactionError"
	labelUnknown   = "UnknownTransactionCommitResult"

	codeBadValue             = 2
	codeUnauthorized         = 13
	codeOverflow             = 15 // nested too deep
	codeAuthenticationFailed = 18
	codeIllegalOperation     = 20
	codeInvalidBSON          = 22
	codeNamespaceExists      = 48
	codeDollarPrefixed       = 52 // of a field's name
	codeInterrupted          = 11601
	codeNoSuchTransaction    = 251 // it was aborted, by a new leader that ended the sessions of the one before
	codeOutOfDiskSpace       = 14031
	codeDocumentTooLarge     = 10334
	codeUpdateTooLarge       = 17419
	codeReplaceTooLarge      = 17420
)

// unavailableCodes are those of a server that is no longer primary, shuts down, is overloaded, or ran out of time.
var unavailableCodes = []int{6, 7, 50, 64, 89, 91, 112, 189, codeNoSuchTransaction, 262, 365, 9001, 10107, 11600, codeInterrupted, 11602, 13435, 13436}

func hasCode(err error, codes ...int) bool {
	var server mongo.ServerError
	if !errors.As(err, &server) {
		return false
	}
	return slices.ContainsFunc(codes, server.HasErrorCode)
}

func hasLabel(err error, label string) bool {
	var labeled mongo.LabeledError
	return errors.As(err, &labeled) && labeled.HasErrorLabel(label)
}

// translate wraps an error of the driver in the error of a store that fits, with what to do.
func translate(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{store.ErrStaleTerm, store.ErrConflict, store.ErrNotFound, store.ErrExists, store.ErrUnavailable, store.ErrUnusable, store.ErrNotStorable, store.ErrKeyReused} {
		if errors.Is(err, known) {
			return err
		}
	}
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		return store.ErrNotFound
	case hasCode(err, codeAuthenticationFailed):
		return fmt.Errorf("%w: MongoDB refuses the user or its password: check both in store.url, and authSource, the database that the user was created in: %w", store.ErrUnusable, err)
	case hasCode(err, codeUnauthorized):
		return fmt.Errorf("%w: the user of store.url lacks a right: grant it the role readWrite on the database: %w", store.ErrUnusable, err)
	case hasCode(err, codeIllegalOperation):
		return fmt.Errorf("%w: %s: %w", store.ErrUnusable, standalone, err)
	case hasCode(err, codeDocumentTooLarge, codeUpdateTooLarge, codeReplaceTooLarge):
		return fmt.Errorf("%w: it has grown over 16 MiB, the most that MongoDB's documents hold: %w", store.ErrNotStorable, err)
	case hasCode(err, codeBadValue, codeOverflow, codeInvalidBSON, codeDollarPrefixed):
		return fmt.Errorf("%w: %w", store.ErrNotStorable, err)
	case hasCode(err, codeOutOfDiskSpace):
		return fmt.Errorf("the disk of MongoDB's primary is full, make room on it: %w: %w", store.ErrUnavailable, err)
	case unavailable(err):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// unavailable reports whether trying again, later or on another server, may help.
func unavailable(err error) bool {
	var selection topology.ServerSelectionError
	var connection topology.ConnectionError
	var write mongo.WriteException
	switch {
	case errors.Is(err, context.Canceled), mongo.IsTimeout(err), mongo.IsNetworkError(err),
		errors.Is(err, mongo.ErrClientDisconnected), errors.As(err, &selection), errors.As(err, &connection):
		return true
	case errors.As(err, &write) && write.WriteConcernError != nil:
		return true
	}
	return hasLabel(err, labelTransient) || hasLabel(err, labelUnknown) || hasLabel(err, "RetryableWriteError") || hasCode(err, unavailableCodes...)
}
