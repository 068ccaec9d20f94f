package mongo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/replicante-io/playbooks/store"
)

const (
	minMajorVersion = 6
	probeTimeout    = 2 * time.Second
	standalone      = "this mongod is a standalone, which has no transactions: start it with --replSet rs0 and run rs.initiate() once; a set of one member is enough for a trial"
)

// requiredActions are the privileges on the database that this program uses; readWrite grants them.
var requiredActions = []string{"find", "insert", "update", "remove", "createCollection", "createIndex", "listIndexes", "changeStream"}

// Check implements store.Store. It returns an error, with what to do where that is known, where it cannot find out.
func (s *Store) Check(ctx context.Context) ([]string, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	wrong, err := s.checkServer(ctx)
	if err != nil {
		return nil, fmt.Errorf("check the store: %w", err)
	}
	if len(wrong) > 0 {
		return wrong, nil // nothing else can be checked
	}
	if wrong, err = s.checkSchema(ctx); err != nil {
		return nil, fmt.Errorf("check the store: %w", translate(err))
	}
	return wrong, nil
}

// checkServer lists what prevents any use of the server.
func (s *Store) checkServer(ctx context.Context) ([]string, error) {
	admin := s.client.Database("admin")
	var hello struct {
		Set     string `bson:"setName"`
		Message string `bson:"msg"`
		Writes  bool   `bson:"isWritablePrimary"`
	}
	tries := backoff()
	for {
		err := admin.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
		if err == nil {
			break
		}
		// A connection pool that an earlier failure has cleared hides the reason: another try shows it.
		var cleared driver.RetryablePoolError
		if !errors.As(err, &cleared) || !tries.Wait(ctx) {
			return nil, s.unreachable(ctx, err)
		}
	}
	var wrong []string
	switch {
	case hello.Message == "isdbgrid":
		wrong = append(wrong, "this is a sharded cluster (mongos): name the members of a replica set instead")
	case hello.Set == "":
		wrong = append(wrong, standalone)
	case !hello.Writes:
		wrong = append(wrong, "the member that the URL names is not the primary: remove directConnection, or name the primary")
	}
	var build struct {
		Version string  `bson:"version"`
		Parts   []int32 `bson:"versionArray"`
	}
	if err := admin.RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&build); err != nil {
		return nil, translate(err)
	}
	if len(build.Parts) > 0 && build.Parts[0] < minMajorVersion {
		wrong = append(wrong, fmt.Sprintf("MongoDB is version %s: %d.0 or later is needed, upgrade it", build.Version, minMajorVersion))
	}
	missing, err := s.missingPrivileges(ctx, admin)
	if err != nil {
		return nil, translate(err)
	}
	return append(wrong, missing...), nil
}

// missingPrivileges lists what the user may not do, by what the server reports to every user about itself.
func (s *Store) missingPrivileges(ctx context.Context, admin *mongo.Database) ([]string, error) {
	var status struct {
		Info struct {
			Users []struct {
				User string `bson:"user"`
				DB   string `bson:"db"`
			} `bson:"authenticatedUsers"`
			Privileges []struct {
				Resource struct {
					DB         *string `bson:"db"`
					Collection *string `bson:"collection"`
					Any        bool    `bson:"anyResource"`
				} `bson:"resource"`
				Actions []string `bson:"actions"`
			} `bson:"authenticatedUserPrivileges"`
		} `bson:"authInfo"`
	}
	err := admin.RunCommand(ctx, bson.D{{Key: "connectionStatus", Value: 1}, {Key: "showPrivileges", Value: true}}).Decode(&status)
	if err != nil {
		return nil, err
	}
	if len(status.Info.Users) == 0 {
		// Either the server needs no user, or it refuses everything: a read shows which.
		err := s.terms.FindOne(ctx, byID(termsID)).Err()
		if hasCode(err, codeUnauthorized) {
			return []string{fmt.Sprintf("MongoDB requires a user: put one with the role readWrite on database %s into store.url, mongodb://USER:PASSWORD@…", s.config.Database)}, nil
		}
		return nil, nil
	}
	granted := map[string]bool{}
	for _, privilege := range status.Info.Privileges {
		r := privilege.Resource
		if r.Any || r.DB != nil && (*r.DB == s.config.Database || *r.DB == "") && r.Collection != nil && *r.Collection == "" {
			for _, action := range privilege.Actions {
				granted[action] = true
			}
		}
	}
	missing := slices.DeleteFunc(slices.Clone(requiredActions), func(action string) bool { return granted[action] })
	if len(missing) == 0 {
		return nil, nil
	}
	user := status.Info.Users[0]
	return []string{fmt.Sprintf("user %s may not %s in database %s: as an administrator, in database %s, db.grantRolesToUser(%q, [{role: \"readWrite\", db: %q}])",
		user.User, strings.Join(missing, ", "), s.config.Database, user.DB, user.User, s.config.Database)}, nil
}

// checkSchema lists what Init would create or change.
func (s *Store) checkSchema(ctx context.Context) ([]string, error) {
	doc, err := s.readTerms(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return []string{fmt.Sprintf("database %s is not set up: run `replicore store init`", s.config.Database)}, nil
	}
	if err != nil {
		return nil, err
	}
	if doc.Schema > schemaVersion {
		return []string{newerSchema(doc.Schema).Error()}, nil
	}
	names, err := s.db.ListCollectionNames(ctx, bson.D{})
	if err != nil {
		return nil, err
	}
	var wrong []string
	for _, want := range s.schema(doc.Term) {
		if !slices.Contains(names, want.collection.Name()) {
			wrong = append(wrong, fmt.Sprintf("collection %s is missing: run `replicore store init`", want.collection.Name()))
			continue
		}
		differences, err := s.compare(ctx, want)
		if err != nil {
			return nil, err
		}
		for _, d := range differences {
			wrong = append(wrong, d.text)
		}
	}
	return wrong, nil
}

// unreachable explains a failure to find a primary by what each member that the URL names reports about itself.
func (s *Store) unreachable(ctx context.Context, err error) error {
	var selection topology.ServerSelectionError
	if known := translate(err); !errors.As(err, &selection) && !errors.Is(known, store.ErrUnavailable) || errors.Is(known, store.ErrUnusable) {
		return known
	}
	opts := options.Client().ApplyURI(s.config.URL)
	wanted := ""
	if opts.ReplicaSet != nil {
		wanted = *opts.ReplicaSet
	}
	var reports []string
	for _, host := range opts.Hosts {
		set, probeErr := probe(context.WithoutCancel(ctx), s.config.URL, host)
		switch {
		case hasCode(probeErr, codeAuthenticationFailed):
			return translate(probeErr)
		case probeErr != nil:
			reports = append(reports, fmt.Sprintf("%s does not answer (%v)", host, probeErr))
		case set == "":
			return fmt.Errorf("%w: %s: %s: %w", store.ErrUnusable, host, standalone, err)
		case wanted != "" && set != wanted:
			return fmt.Errorf("%w: %s belongs to replica set %q and store.url has replicaSet=%s: correct it: %w", store.ErrUnusable, host, set, wanted, err)
		default:
			reports = append(reports, fmt.Sprintf("%s answers", host))
		}
	}
	advice := "check that mongod runs on these hosts and that the network lets this one reach them"
	if slices.ContainsFunc(reports, func(s string) bool { return strings.HasSuffix(s, " answers") }) {
		advice = "the set has no primary, or its members have host names (rs.conf()) that this host cannot reach"
	}
	return fmt.Errorf("%w: %s: %s: %w", store.ErrUnavailable, strings.Join(reports, ", "), advice, err)
}

// probe asks one host which replica set it belongs to.
func probe(ctx context.Context, url, host string) (set string, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil { // the driver would try again until the timeout
		return "", err
	}
	connection.Close()
	opts := options.Client().ApplyURI(url)
	opts.ReplicaSet = nil
	client, err := mongo.Connect(opts.SetHosts([]string{host}).SetDirect(true).SetServerSelectionTimeout(probeTimeout))
	if err != nil {
		return "", err
	}
	defer func() { _ = client.Disconnect(ctx) }()
	var hello struct {
		Set string `bson:"setName"`
	}
	err = client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
	return hello.Set, err
}
